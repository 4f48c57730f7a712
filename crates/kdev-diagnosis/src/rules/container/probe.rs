//! Failing probes, and readiness gates that are not met.

use kdev_core::kube::container::Container;
use kdev_core::kube::object::{list, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::diagnosis::{Confidence, Diagnosis};
use crate::facts::{ApiEvent, Facts};
use crate::rules::container::probe_response;

/// Probes that restart a container: their names in the kubelet's messages and in a manifest.
const RESTARTING_PROBES: [(&str, &str); 2] =
    [("Startup", "startupProbe"), ("Liveness", "livenessProbe")];
const READINESS: (&str, &str) = ("Readiness", "readinessProbe");

/// Number of similar events after which the kubelet starts to drop some.
const EVENT_BURST: u64 = 25;
/// Seconds after its start in which a program may fail a probe only because it is starting.
const STARTUP_SECONDS: i64 = 30;

/// Field name of a probe, its specification, and the kubelet's event about its failure.
type ProbeFailure<'a> = (&'static str, &'a Value, &'a ApiEvent);

pub(crate) fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let failing =
        facts.containers().into_iter().filter_map(|container| diagnose_container(facts, container));
    failing.chain(readiness_gate(facts)).collect()
}

/// Returns whether a probe makes the kubelet restart the container.
pub(crate) fn is_restarted_by_probe(facts: &Facts, container: Container) -> bool {
    let Some(ended) = container.ended() else { return false };
    // After SIGTERM, a program may exit with any code.
    let is_kill = |event: &ApiEvent| {
        let patterns = ["failed liveness probe", "failed startup probe"];
        event.reason == "Killing"
            && patterns.iter().any(|pattern| event.message.contains(pattern))
            && event.is_since(text(ended, "/startedAt"))
    };
    let is_killed =
        matches!(container.exit_code(), Some(137 | 143)) && text(ended, "/reason") != "OOMKilled";
    let failure = last_failure(facts, container, &RESTARTING_PROBES);
    let fails = |(_, _, event): ProbeFailure| {
        // After this many, the kubelet drops most events, so that the last may be old.
        event.is_since(text(ended, "/startedAt")) || event.count >= EVENT_BURST
    };
    facts.container_events(container).any(is_kill) || is_killed && failure.is_some_and(fails)
}

/// Returns the failing probe with the last event about it.
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

/// Returns the probe that failed last; failures of other probes may be over.
fn last_failure<'a>(
    facts: &'a Facts,
    container: Container<'a>,
    probes: &[(&str, &'static str)],
) -> Option<ProbeFailure<'a>> {
    let mut found: Option<ProbeFailure> = None;
    for (name, kind) in probes {
        let Some(probe) = container.spec(&format!("/{kind}")) else { continue };
        // A startup probe that has succeeded does not run again.
        if *kind == "startupProbe" && container.is_running() && container.has_started() {
            continue;
        }
        let starts = [format!("{name} probe failed"), format!("{name} probe errored")];
        let is_failure =
            |event: &&ApiEvent| starts.iter().any(|start| event.message.contains(start));
        let event = facts.container_events(container).rev().find(is_failure);
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
    let is_healthy = container.is_ready() && !(is_killed && facts.may_crash_again(container));
    if is_healthy || !(container.is_running() || is_killed) {
        return None;
    }
    let (kind, probe, event) = failing_probe(facts, container)?;
    let name = container.name();
    let response = event.message.split_once(": ").map_or("", |(_, response)| response);
    let cause = if kind == "readinessProbe" { Cause::ReadinessProbe } else { Cause::LivenessProbe };
    let threshold = probe["failureThreshold"].as_u64().unwrap_or(3);
    let consequence = match cause {
        Cause::ReadinessProbe => "so the pod receives no traffic".to_owned(),
        _ if is_killed => "so the kubelet restarts it".to_owned(),
        _ => format!("and the kubelet restarts it after {threshold} failures"),
    };
    let (explanation, help) = probe_response::explain(facts, container, kind, probe, response);
    let runs = facts.running_seconds(container).filter(|_| !is_killed && container.is_running());
    let starting = runs
        .filter(|seconds| *seconds < STARTUP_SECONDS && !probe_response::is_permanent(response));
    // The event may be of an earlier run, because the kubelet drops events if there are many.
    let is_of_this_run = event.is_since(container.started_at());
    let has_consequence = is_killed || cause == Cause::ReadinessProbe || event.count >= threshold;
    let is_sure = is_of_this_run && starting.is_none() && has_consequence;
    let help = match starting {
        Some(seconds) => {
            format!(
                "wait, because the container has been running for only {seconds} s; then, {help}"
            )
        }
        None => help,
    };
    let response = if response.is_empty() { "no response" } else { response };
    Some(Diagnosis {
        cause,
        confidence: if is_sure { Confidence::Certain } else { Confidence::Likely },
        message: format!("the `{kind}` of container `{name}` fails, {consequence}: {explanation}"),
        evidence: vec![
            format!("probe: {}", describe_action(probe)),
            format!("last failure, reported {}: {response}", describe_count(event.count)),
        ],
        help,
    })
}

fn describe_count(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Returns the action of the probe as in the manifest.
fn describe_action(probe: &Value) -> String {
    let kinds = ["httpGet", "tcpSocket", "grpc", "exec"];
    let kind = kinds.into_iter().find(|kind| probe.get(kind).is_some()).unwrap_or("none");
    format!("{kind} {}", probe[kind])
}

/// Diagnoses a readiness gate whose condition no controller has set to true.
fn readiness_gate(facts: &Facts) -> Option<Diagnosis> {
    let is_met = |gate: &str| facts.condition(gate).is_some_and(|one| one["status"] == "True");
    let gates = list(&facts.pod["spec"]["readinessGates"]);
    let unmet = gates.map(|gate| text(gate, "/conditionType")).find(|gate| !is_met(gate))?;
    facts.containers().iter().all(Container::is_ready).then(|| Diagnosis {
        cause: Cause::ReadinessGate,
        confidence: Confidence::Certain,
        message: format!("the pod's readiness gate `{unmet}` is not true; a controller must set it"),
        evidence: vec![format!("the pod has no condition `{unmet}` with status `True`")],
        help: format!("check the controller that sets `{unmet}`, or remove the readiness gate from the manifest of {}", facts.controller_id()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SINCE: &str = "2026-01-01T00:01:00Z";

    /// Returns a pod `p` of a Deployment whose container `c` has these probes and this state.
    fn facts(probes: &Value, state: &Value, events: &[(&str, &str, &str)]) -> Facts {
        let mut spec = json!({"name": "c", "ports": [{"name": "http", "containerPort": 80}]});
        spec.as_object_mut().unwrap().extend(probes.as_object().unwrap().clone());
        let mut status = json!({"name": "c", "ready": false});
        status.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        let event = |(reason, message, time): &(&str, &str, &str)| ApiEvent {
            regarding: "Pod/p".to_owned(),
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
    fn probe_response_determines_reason_and_help() {
        let http = json!({"httpGet": {"port": 81, "path": "/a"}});
        let grpc = json!({"grpc": {"port": 81}});
        let exec = json!({"exec": {"command": ["a"]}});
        let named = json!({"httpGet": {"port": "web"}});
        let table = [
            (&http, "HTTP probe failed with statuscode: 404", "returns 404", "the path"),
            (&http, "HTTP probe failed with statuscode: 503", "returns 503", "check the log"),
            (&http, "connect: connection refused", "nothing listens on port 81", "\"port\":80"),
            (
                &json!({"httpGet": {"port": "http"}}),
                "connect: connection refused",
                "nothing listens on port 80",
                "make the program listen on `0.0.0.0:80`",
            ),
            (
                &http,
                "http: server gave HTTP response to HTTPS client",
                "HTTPS",
                "\"scheme\":\"HTTP\"",
            ),
            (&http, "dial tcp 1.2.3.4:81: i/o timeout", "within 1 s", "`timeoutSeconds`"),
            (&http, "connect: no route to host", "no valid response", "the address"),
            (&named, "strconv.Atoi: parsing \"web\": invalid syntax", "named `web`", "\"port\":80"),
            (&exec, "command timed out: \"a\" timed out after 1s", "within 1 s", "the command or"),
            (
                &exec,
                "exec: \"a\": executable file not found in $PATH",
                "program not found",
                "the command",
            ),
            (&exec, "not yet", "the command fails", "`kubectl exec p --container c -- a`"),
            (
                &http,
                "HTTP probe failed with statuscode: 400",
                "returns 400",
                "if the program uses HTTPS, run `kubectl patch deployment/d",
            ),
            (&http, "HTTP probe failed with statuscode: 403", "returns 403", "`httpHeaders`"),
            (
                &http,
                "malformed HTTP response \"\\x15\\x03\"",
                "is not HTTP",
                "\"scheme\":\"HTTPS\"",
            ),
            (&http, "Get \"http://1.2.3.4:81/a\": EOF", "without a response", "check the log"),
            (
                &grpc,
                "timeout: failed to connect service \"1.2.3.4:81\" within 1s",
                "no gRPC server",
                "\"port\":80",
            ),
            (
                &grpc,
                "service unhealthy (responded with \"NOT_SERVING\")",
                "is not serving",
                "check the log",
            ),
            (
                &grpc,
                "error: this server does not implement the grpc health protocol",
                "health checking protocol",
                "tcpSocket",
            ),
        ];
        for (probe, response, explanation, help) in table {
            let message = format!("Readiness probe failed: {response}");
            let probes = json!({"readinessProbe": probe});
            let found = diagnose(&facts(&probes, &running(), &[("Unhealthy", &message, SINCE)]));
            let [one] = found.as_slice() else { panic!("{response}: {found:?}") };
            assert_eq!((one.cause, one.confidence), (Cause::ReadinessProbe, Confidence::Certain));
            assert!(one.message.contains(explanation), "{response}: {}", one.message);
            assert!(one.help.contains(help), "{response}: {}", one.help);
        }
    }

    #[test]
    fn latest_failing_probe_is_reported() {
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
        let at = |message: &'static str, time| ("Unhealthy", message, time);
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
            // The kubelet's event shows the cause, regardless of the exit code.
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
            let start = kind.map(|kind| format!("the `{kind}` of container `c` fails"));
            let message = found.first().map(|one| one.message.clone()).unwrap_or_default();
            assert_eq!(found.len(), usize::from(kind.is_some()), "{state} {events:?}: {message}");
            assert!(
                message.starts_with(&start.unwrap_or_default()),
                "{state} {events:?}: {message}"
            );
            assert!(found.iter().all(|one| one.confidence == confidence), "{state} {events:?}");
        }
    }

    #[test]
    fn failure_of_starting_program_is_only_likely() {
        let probes = json!({"startupProbe": {"tcpSocket": {"port": 81}, "failureThreshold": 30}});
        let failed = [("Unhealthy", "Startup probe failed: connection refused", SINCE)];
        let mut facts = facts(&probes, &running(), &failed);
        facts.pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        let table = [
            (
                63,
                1,
                Confidence::Likely,
                "wait, because the container has been running for only 3 s; then, if",
            ),
            (120, 29, Confidence::Likely, "if the program listens on port 80"),
            (120, 30, Confidence::Certain, "if the program listens on port 80"),
        ];
        for (age, count, confidence, help) in table {
            facts.age_seconds = Some(age);
            facts.events[0].count = count;
            let one = diagnose(&facts).remove(0);
            assert_eq!(one.confidence, confidence, "{age} {count}");
            assert!(one.help.starts_with(help), "{}", one.help);
            assert!(
                one.message.contains("and the kubelet restarts it after 30 failures"),
                "{}",
                one.message
            );
        }
        facts.age_seconds = Some(63);
        facts.events[0].message =
            "Startup probe failed: HTTP probe failed with statuscode: 404".into();
        assert!(!diagnose(&facts)[0].help.starts_with("wait"));
    }

    #[test]
    fn oom_kill_is_not_attributed_to_probe() {
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
    fn probe_event_of_other_container_is_ignored() {
        let probes = json!({"readinessProbe": {"tcpSocket": {"port": 80}}});
        let mut facts =
            facts(&probes, &running(), &[("Unhealthy", "Readiness probe failed: x", SINCE)]);
        facts.events[0].container = "other".to_owned();
        assert_eq!(diagnose(&facts), []);
    }
}
