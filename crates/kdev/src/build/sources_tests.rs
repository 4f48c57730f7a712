//! Tests of the paths that a build copies, and of the platforms of its stages.

use super::*;

fn sources(dockerfile: &str, target: Option<&str>) -> Vec<String> {
    let build_args = BTreeMap::from(
        [("GIVEN", Some("given")), ("SECRET", None)]
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned))),
    );
    let found = reached_sources(dockerfile, target, &build_args);
    found.into_iter().map(|source| format!("{}:{}", source.line, source.path)).collect()
}

#[test]
fn platform_use_follows_stages() {
    // Dockerfile, built stage, and the fields of the result.
    type Row<'a> = (&'a str, Option<&'a str>, bool, Option<usize>, usize);
    let run = "FROM base\nRUN true\n";
    let cross = "FROM --platform=$BUILDPLATFORM rust AS build\nRUN cargo build\nFROM scratch\nCOPY --from=build /app /app\nCOPY page /\n";
    let table: [Row; 13] = [
        ("FROM scratch\nCOPY app /app\n", None, false, None, 1),
        (run, None, false, Some(2), 0),
        (cross, None, false, None, 1),
        (cross, Some("build"), true, None, 0),
        (&cross.replace("COPY page", "RUN page"), None, false, Some(5), 0),
        // A stage has the platform of its base.
        (&cross.replace("FROM scratch", "FROM build"), None, true, None, 1),
        (&cross.replace("--platform=$BUILDPLATFORM ", ""), None, false, Some(2), 1),
        (
            &cross.replace("$BUILD", "${TARGET").replace("M rust", "M} rust"),
            None,
            false,
            Some(2),
            1,
        ),
        // Only needed stages are built.
        (&cross.replace("--from=build ", ""), None, false, None, 2),
        (&format!("{run}FROM scratch\nCOPY a /a\n"), None, false, None, 1),
        ("FROM --platform=linux/arm64 base\nRUN true\n", None, true, None, 0),
        ("FROM --platform=linux/$TARGETARCH base\nRUN true\n", None, false, Some(2), 0),
        ("", None, false, None, 0),
    ];
    for (text, target, is_set, first_run, copied) in table {
        let found = find_platform_use(text, target, &BTreeMap::new());
        let found = (found.is_set, found.first_run, found.copied.len());
        assert_eq!(found, (is_set, first_run, copied), "{text}");
    }
}

#[test]
fn sources_of_instruction_are_paths_in_context() {
    let table: [(&str, &[&str]); 16] = [
        ("COPY a b /c/", &["2:a", "2:b"]),
        ("COPY [\"a b\", \"/c\"]", &["2:a b"]),
        ("copy --chown=1:1 --link ./a//b/../c /d", &["2:a/c"]),
        ("COPY /a ../b /c/", &["2:a", "2:b"]),
        ("COPY . /c", &["2:"]),
        ("ADD a https://x/y git@x:y.git /c/", &["2:a", "2:git@x:y.git"]),
        ("COPY --from=image a /c", &[]),
        ("COPY --exclude=a . /c", &[]),
        ("COPY <<EOF /c\nCOPY a /\nEOF", &[]),
        ("COPY target/*/a /c", &["2:target/*/a"]),
        ("RUN --mount=type=bind,source=a,target=/c x", &["2:a"]),
        ("RUN --mount=target=/c,src=./a,rw x", &["2:a"]),
        ("RUN --mount=type=cache,source=a,target=/c x", &[]),
        ("RUN --mount=source=a,target=/c,from=image x", &[]),
        ("RUN --mount=target=/c x", &[]),
        ("RUN cp a --mount=source=b /c", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(sources(&format!("FROM x\n{text}\n"), None), expected, "{text}");
    }
}

#[test]
fn variable_has_value_of_argument_or_environment() {
    let table: [(&str, &[&str]); 18] = [
        ("ENV A=a\nARG A=b\nCOPY $A /c", &[]),
        ("ENV A=$UNKNOWN\nARG A=b\nCOPY $A /c", &[]),
        ("ARG SECRET=a\nCOPY $SECRET b /c/", &["4:b"]),
        ("ARG A=a\nCOPY $A ${A} ${A}s $A.d /c/", &["4:a", "4:a", "4:as", "4:a.d"]),
        ("ARG A=a B=$A/b\nCOPY \"$B\" /c", &["4:a/b"]),
        ("ARG GIVEN\nCOPY $GIVEN /c", &["4:given"]),
        ("ARG GIVEN=a\nCOPY $GIVEN /c", &["4:given"]),
        ("ENV GIVEN=a\nCOPY $GIVEN /c", &["4:a"]),
        ("ARG GLOBAL\nCOPY $GLOBAL /c", &["4:global"]),
        ("ARG GLOBAL=a\nCOPY $GLOBAL /c", &["4:a"]),
        ("COPY a$GLOBAL a$GIVEN /c/", &[]),
        ("ENV A a\nENV B='b'\nCOPY $A$B /c", &["5:ab"]),
        ("ENV A=\nCOPY ${A:-a} ${B:-b} /c/", &["4:a"]),
        ("ARG TARGETARCH\nCOPY target/$TARGETARCH b /c/", &["4:b"]),
        ("ARG A=a\nENV A=$UNKNOWN\nCOPY $A /c", &[]),
        ("ARG A=a\nCOPY ${A:+b} ${A#a} ${A /c/", &[]),
        ("COPY \\$a /c", &["3:$a"]),
        ("ARG A=a\nRUN --mount=src=$A,target=/c x", &["4:a"]),
    ];
    for (text, expected) in table {
        let text = format!("ARG GLOBAL=global\nFROM x\n{text}\n");
        assert_eq!(sources(&text, None), expected, "{text}");
    }
}

#[test]
fn only_needed_stages_are_read() {
    let text = "ARG BASE=one
FROM x AS One
ARG A=a
COPY $A /
FROM x AS two
COPY b /
FROM x AS three
COPY c /
FROM ${BASE} AS four
COPY --from=two / /
COPY d$A /
FROM x
RUN --mount=from=three,target=/t x
COPY --from=0 / /
FROM four
";
    let table: [(Option<&str>, &[&str]); 7] = [
        (None, &["4:a", "6:b", "11:da"]),
        (Some("four"), &["4:a", "6:b", "11:da"]),
        (Some("TWO"), &["6:b"]),
        (Some("4"), &["4:a", "8:c"]),
        (Some("one"), &["4:a"]),
        (Some("absent"), &[]),
        (Some("9"), &[]),
    ];
    for (target, expected) in table {
        assert_eq!(sources(text, target), expected, "{target:?}");
    }
    assert_eq!(sources("", None), Vec::<String>::new());
}
