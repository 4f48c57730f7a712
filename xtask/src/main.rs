//! The repository own tasks.
fn main() {}
