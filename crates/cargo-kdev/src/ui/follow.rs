//! The texts of events about pods that are followed.

use kdev::Event;

/// Formats lines of a log that may be missing.
pub(super) fn format_gap(event: &Event) -> String {
    let Event::LogGap { pod, container, from, to, .. } = event else { return String::new() };
    let span = match (from, to) {
        (Some(from), Some(to)) => format!(" between {from} and {to}"),
        (Some(from), None) => format!(" after {from}"),
        (None, Some(to)) => format!(" before {to}"),
        (None, None) => String::new(),
    };
    format!("lines of container `{container}` of pod `{pod}`{span} may be missing")
}

/// Formats to which pod a port is forwarded.
pub(super) fn format_forward(event: &Event) -> String {
    let Event::Forward { addresses, workload, port, pod } = event else { return String::new() };
    let address = addresses.first().map(String::as_str).unwrap_or_default();
    match pod {
        Some(pod) => format!("{address} to port {port} of pod `{pod}` ({workload})"),
        None => format!("{address} waits, because no pod of {workload} is ready"),
    }
}

/// Formats where a workload can be reached.
pub(super) fn format_address(event: &Event) -> String {
    let Event::Address { address, workload, port, command } = event else { return String::new() };
    let place = match address {
        Some(address) => format!("{address} in the cluster"),
        None => format!("port {port} of {workload}"),
    };
    format!("{place}; run `{command}` to reach it from this machine")
}
