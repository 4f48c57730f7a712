//! A probe fails: the container is restarted, or gets no traffic.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::rules::container::probe_response;

/// The probes that end a container, as the kubelet names them, and as a manifest does.
const RESTARTING_PROBES: [(&str, &str); 2] =
    [("Startup", "startupProbe"), ("Liveness", "livenessProbe")];
const READINESS: (&str, &str) = ("Readiness", "readinessProbe");

/// How many events alike the kubelet reports before it leaves some out.
const EVENT_BURST: u64 = 25;
/// What has run for less than this may only be starting, in seconds.
const STARTUP_SECONDS: i64 = 30;

/// A probe's name, what it does, and the kubelet's words on its failure.
type ProbeFailure<'a> = (&'static str, &'a Value, &'a ApiEvent);

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let failing =
        facts.containers().into_iter().filter_map(|container| diagnose_container(facts, container));
    failing.chain(readiness_gate(facts)).collect()
}

/// Whether it is a probe that ends a container again and again.
pub(crate) fn is_restarted_by_probe(facts: &Facts, container: Container) -> bool {
    let Some(ended) = container.ended() else { return false };
    // A program that is told to end may do so with any exit code.
    let is_told = |event: &ApiEvent| {
        let signs = ["failed liveness probe", "failed startup probe"];
        event.reason == "Killing"
            && signs.iter().any(|sign| event.message.contains(sign))
            && event.is_since(text(ended, "/startedAt"))
    };
    let is_killed =
        matches!(container.exit_code(), Some(137 | 143)) && text(ended, "/reason") != "OOMKilled";
    let failure = last_failure(facts, container, &RESTARTING_PROBES);
    let fails = |(_, _, event): ProbeFailure| {
        // Of more than these the kubelet leaves most out.
        event.is_since(text(ended, "/startedAt")) || event.count >= EVENT_BURST
    };
    facts.container_events(container).any(is_told) || is_killed && failure.is_some_and(fails)
}

/// The probe that fails, and the kubelet's last words on it.
pub(crate) fn failing_probe<'a>(
    facts: &'a Facts,
    container: Container<'a>,
) -> Option<ProbeFailure<'a>> {
    if is_restarted_by_probe(facts, container) {
        return last_failure(facts, container, &RESTARTING_PROBES);
    }
    let [startup, liveness] = RESTARTING_PROBES;
    last_failure(facts, container, &[startup, liveness, READINESS])
}

/// Of several probes that which failed last: others may have failed for a while only.
fn last_failure<'a>(
    facts: &'a Facts,
    container: Container<'a>,
    probes: &[(&str, &'static str)],
) -> Option<ProbeFailure<'a>> {
    let mut found: Option<ProbeFailure> = None;
    for (said, kind) in probes {
        let Some(probe) = container.spec(&format!("/{kind}")) else { continue };
        // Once it has succeeded, it is not asked again.
        if *kind == "startupProbe" && container.is_running() && container.has_started() {
            continue;
        }
        let starts = [format!("{said} probe failed"), format!("{said} probe errored")];
        let is_it = |event: &&ApiEvent| starts.iter().any(|start| event.message.contains(start));
        let event = facts.container_events(container).rev().find(is_it);
        if let Some(event) = event
            && found.is_none_or(|(_, _, other)| !other.is_since(&event.time))
        {
            found = Some((kind, probe, event));
        }
    }
    found
}

fn diagnose_container(facts: &Facts, container: Container) -> Option<Diagnosis> {
    let is_killed = is_restarted_by_probe(facts, container);
    let is_well = container.is_ready() && !(is_killed && facts.may_end_again(container));
    if is_well || !(container.is_running() || is_killed) {
        return None;
    }
    let (kind, probe, event) = failing_probe(facts, container)?;
    let name = container.name();
    let answer = event.message.split_once(": ").map_or("", |(_, answer)| answer);
    let cause = if kind == "readinessProbe" { Cause::NotReady } else { Cause::ProbeRestarts };
    let threshold = probe["failureThreshold"].as_u64().unwrap_or(3);
    let follows = match cause {
        Cause::NotReady => "so the pod gets no traffic".to_owned(),
        _ if is_killed => "so it is killed and started again".to_owned(),
        _ => format!("and after {threshold} failures it is killed and started again"),
    };
    let (why, help) = probe_response::explain(facts, container, kind, probe, answer);
    let runs = facts.runs_for(container).filter(|_| !is_killed && container.is_running());
    let young =
        runs.filter(|seconds| *seconds < STARTUP_SECONDS && !probe_response::is_permanent(answer));
    // Some answers of this run may have been left out, as too many.
    let is_of_this_run = event.is_since(container.started_at());
    let is_told = is_killed || cause == Cause::NotReady || event.count >= threshold;
    let is_sure = is_of_this_run && young.is_none() && is_told;
    let help = match young {
        Some(seconds) => {
            format!("wait a moment, for it has run for {seconds} s only; after that, {help}")
        }
        None => help,
    };
    let answer = if answer.is_empty() { "nothing" } else { answer };
    Some(Diagnosis {
        cause,
        confidence: if is_sure { Confidence::Certain } else { Confidence::Likely },
        words: format!("the {kind} of container `{name}` fails, {follows}: {why}"),
        evidence: vec![
            format!("the probe: {}", describe_action(probe)),
            format!("its last answer, {} so far: {answer}", describe_count(event.count)),
        ],
        help,
    })
}

fn describe_count(count: u64) -> String {
    if count == 1 { "one".to_owned() } else { format!("{count} like it") }
}

/// What the probe does, as it is written.
fn describe_action(probe: &Value) -> String {
    let kinds = ["httpGet", "tcpSocket", "grpc", "exec"];
    let kind = kinds.into_iter().find(|kind| probe.get(kind).is_some()).unwrap_or("none");
    format!("{kind} {}", probe[kind])
}

/// A readiness gate that nobody has opened yet.
fn readiness_gate(facts: &Facts) -> Option<Diagnosis> {
    let is_open = |gate: &str| facts.condition(gate).is_some_and(|one| one["status"] == "True");
    let gates = list(&facts.pod["spec"]["readinessGates"]);
    let closed = gates.map(|gate| text(gate, "/conditionType")).find(|gate| !is_open(gate))?;
    facts.containers().iter().all(Container::is_ready).then(|| Diagnosis {
        cause: Cause::GateClosed,
        confidence: Confidence::Certain,
        words: format!("its readiness gate `{closed}` is closed: some controller must open it"),
        evidence: vec![format!("the pod has no condition `{closed}` that is true")],
        help: format!("see that the controller runs that sets `{closed}`, or take the gate out of the manifest of {}", facts.keeper_id()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SINCE: &str = "2026-01-01T00:01:00Z";

    /// A pod `p` of a Deployment whose container `c` has these probes and this state.
    fn facts(probes: &Value, state: &Value, events: &[(&str, &str, &str)]) -> Facts {
        let mut spec = json!({"name": "c", "ports": [{"name": "http", "containerPort": 80}]});
        spec.as_object_mut().unwrap().extend(probes.as_object().unwrap().clone());
        let mut status = json!({"name": "c", "ready": false});
        status.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        let event = |(reason, message, time): &(&str, &str, &str)| ApiEvent {
            about: "Pod/p".to_owned(),
            container: "c".to_owned(),
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
            time: (*time).to_owned(),
            count: 3,
            ..ApiEvent::default()
        };
        Facts {
            pod: json!({"metadata": {"name": "p"}, "spec": {"containers": [spec]},
                "status": {"containerStatuses": [status]}}),
            owners: vec![json!({"kind": "Deployment", "metadata": {"name": "d"}})],
            events: events.iter().map(event).collect(),
            kubectl: "kubectl".to_owned(),
            ..Facts::default()
        }
    }

    fn running() -> Value {
        json!({"state": {"running": {"startedAt": SINCE}}})
    }

    #[test]
    fn an_answer_is_judged_by_its_words() {
        let http = json!({"httpGet": {"port": 81, "path": "/a"}});
        let grpc = json!({"grpc": {"port": 81}});
        let exec = json!({"exec": {"command": ["a"]}});
        let named = json!({"httpGet": {"port": "web"}});
        let table = [
            (&http, "HTTP probe failed with statuscode: 404", "answers 404", "the path"),
            (&http, "HTTP probe failed with statuscode: 503", "answers 503", "read its log"),
            (&http, "connect: connection refused", "nothing listens on port 81", "\"port\":80"),
            (
                &json!({"httpGet": {"port": "http"}}),
                "connect: connection refused",
                "nothing listens on port 80",
                "let the program listen on `0.0.0.0:80`",
            ),
            (
                &http,
                "http: server gave HTTP response to HTTPS client",
                "HTTPS",
                "\"scheme\":\"HTTP\"",
            ),
            (&http, "dial tcp 1.2.3.4:81: i/o timeout", "within 1 s", "`timeoutSeconds`"),
            (&http, "connect: no route to host", "no answer", "the address"),
            (
                &named,
                "strconv.Atoi: parsing \"web\": invalid syntax",
                "called `web`",
                "\"port\":80",
            ),
            (&exec, "command timed out: \"a\" timed out after 1s", "within 1 s", "the command, or"),
            (
                &exec,
                "exec: \"a\": executable file not found in $PATH",
                "no such program",
                "the command",
            ),
            (&exec, "not yet", "its command fails", "`kubectl exec p --container c -- a`"),
            (
                &http,
                "HTTP probe failed with statuscode: 400",
                "answers 400",
                "if it speaks HTTPS, run `kubectl patch deployment/d",
            ),
            (&http, "HTTP probe failed with statuscode: 403", "answers 403", "`httpHeaders`"),
            (
                &http,
                "malformed HTTP response \"\\x15\\x03\"",
                "not by HTTP",
                "\"scheme\":\"HTTPS\"",
            ),
            (&http, "Get \"http://1.2.3.4:81/a\": EOF", "without an answer", "read its log"),
            (
                &grpc,
                "timeout: failed to connect service \"1.2.3.4:81\" within 1s",
                "no gRPC server",
                "\"port\":80",
            ),
            (
                &grpc,
                "service unhealthy (responded with \"NOT_SERVING\")",
                "does not serve",
                "read its log",
            ),
            (
                &grpc,
                "error: this server does not implement the grpc health protocol",
                "not the protocol",
                "tcpSocket",
            ),
        ];
        for (probe, answer, why, help) in table {
            let message = format!("Readiness probe failed: {answer}");
            let probes = json!({"readinessProbe": probe});
            let found = diagnose(&facts(&probes, &running(), &[("Unhealthy", &message, SINCE)]));
            let [one] = found.as_slice() else { panic!("{answer}: {found:?}") };
            assert_eq!((one.cause, one.confidence), (Cause::NotReady, Confidence::Certain));
            assert!(one.words.contains(why), "{answer}: {}", one.words);
            assert!(one.help.contains(help), "{answer}: {}", one.help);
        }
    }

    #[test]
    fn the_probe_that_failed_last_counts() {
        let probe = json!({"tcpSocket": {"port": 81}});
        let probes =
            json!({"startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe});
        let (startup, liveness, readiness) =
            ("Startup probe failed: ", "Liveness probe failed: ", "Readiness probe failed: ");
        let (early, late) = ("2026-01-01T00:00:30Z", "2026-01-01T00:02:00.000001Z");
        let killing = "Container c failed liveness probe, will be restarted";
        let run = |code: u64| {
            json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState":
                {"terminated": {"exitCode": code, "startedAt": SINCE}}})
        };
        let started = json!({"started": true, "state": running()["state"]});
        let at = |words: &'static str, time| ("Unhealthy", words, time);
        let table = [
            (running(), vec![at(startup, late)], Some("startupProbe"), Confidence::Certain),
            (started.clone(), vec![at(startup, late)], None, Confidence::Certain),
            (
                started.clone(),
                vec![at(readiness, early)],
                Some("readinessProbe"),
                Confidence::Likely,
            ),
            (
                started,
                vec![at(liveness, early), at(readiness, late)],
                Some("readinessProbe"),
                Confidence::Certain,
            ),
            // It ends as it likes when it is told to, and is told by an event.
            (
                run(0),
                vec![at(liveness, SINCE), at(readiness, late), ("Killing", killing, late)],
                Some("livenessProbe"),
                Confidence::Certain,
            ),
            (
                run(1),
                vec![at(liveness, early), ("Killing", killing, early)],
                None,
                Confidence::Certain,
            ),
            (run(137), vec![at(liveness, late)], Some("livenessProbe"), Confidence::Certain),
            (run(137), vec![at(readiness, late)], None, Confidence::Certain),
        ];
        for (state, events, kind, confidence) in table {
            let found = diagnose(&facts(&probes, &state, &events));
            let start = kind.map(|kind| format!("the {kind} of container `c` fails"));
            let words = found.first().map(|one| one.words.clone()).unwrap_or_default();
            assert_eq!(found.len(), usize::from(kind.is_some()), "{state} {events:?}: {words}");
            assert!(words.starts_with(&start.unwrap_or_default()), "{state} {events:?}: {words}");
            assert!(found.iter().all(|one| one.confidence == confidence), "{state} {events:?}");
        }
    }

    #[test]
    fn a_program_that_starts_is_given_time() {
        let probes = json!({"startupProbe": {"tcpSocket": {"port": 81}, "failureThreshold": 30}});
        let failed = [("Unhealthy", "Startup probe failed: connection refused", SINCE)];
        let mut facts = facts(&probes, &running(), &failed);
        facts.pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        let table = [
            (
                63,
                1,
                Confidence::Likely,
                "wait a moment, for it has run for 3 s only; after that, if",
            ),
            (120, 29, Confidence::Likely, "if it listens on the port 80"),
            (120, 30, Confidence::Certain, "if it listens on the port 80"),
        ];
        for (age, count, confidence, help) in table {
            facts.age_seconds = Some(age);
            facts.events[0].count = count;
            let one = diagnose(&facts).remove(0);
            assert_eq!(one.confidence, confidence, "{age} {count}");
            assert!(one.help.starts_with(help), "{}", one.help);
            assert!(one.words.contains("and after 30 failures it is killed"), "{}", one.words);
        }
        facts.age_seconds = Some(63);
        facts.events[0].message =
            "Startup probe failed: HTTP probe failed with statuscode: 404".into();
        assert!(!diagnose(&facts)[0].help.starts_with("wait"));
    }

    #[test]
    fn a_probe_is_not_blamed_for_what_memory_has_ended() {
        let probes = json!({"livenessProbe": {"tcpSocket": {"port": 81}}});
        let early = "2026-01-01T00:00:30Z";
        let ended = |reason: &str| {
            json!({"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": reason, "startedAt": SINCE}}})
        };
        let table = [
            ("Error", SINCE, 3, true),
            ("Error", early, 3, false),
            ("Error", early, EVENT_BURST, true),
            ("OOMKilled", SINCE, 3, false),
        ];
        for (reason, time, count, expected) in table {
            let failed = [("Unhealthy", "Liveness probe failed: timeout", time)];
            let mut facts = facts(&probes, &ended(reason), &failed);
            facts.events[0].count = count;
            let found = is_restarted_by_probe(&facts, facts.containers()[0]);
            assert_eq!(found, expected, "{reason} {time} {count}");
        }
    }

    #[test]
    fn another_containers_probe_is_not_taken_for_ones_own() {
        let probes = json!({"readinessProbe": {"tcpSocket": {"port": 80}}});
        let mut facts =
            facts(&probes, &running(), &[("Unhealthy", "Readiness probe failed: x", SINCE)]);
        facts.events[0].container = "other".to_owned();
        assert_eq!(diagnose(&facts), []);
    }
}
