FROM {{rust-image}} AS build
WORKDIR /src
COPY . .
{{cache-reason}}
RUN {{mounts}}target="$(rustc -vV | sed -n 's/^host: //p')" \
    # A static program runs in an image without a C library.
    && RUSTFLAGS="-Ctarget-feature=+crt-static" \
       cargo build --release{{locked}} --package {{package}} --bin {{bin}} --target "$target" \
    && cp "target/$target/release/{{bin}}" /program

FROM scratch
COPY --from=build /program /{{bin}}
{{expose}}
# Not root, as in the manifest.
USER 65532:65532
ENTRYPOINT ["/{{bin}}"]
