# Contains only the static program, which `cargo build` creates on your machine
# before this image is built: `cargo-build` in Cargo.toml.
FROM scratch
COPY {{program}} /{{bin}}
{{expose}}
# Not root, as in the manifest.
USER 65532:65532
ENTRYPOINT ["/{{bin}}"]
