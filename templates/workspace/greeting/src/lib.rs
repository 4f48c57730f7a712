//! The code that both services share.

/// Returns the greeting of a service.
pub fn greeting(service: &str) -> String {
    format!("hello from {service}\n")
}
