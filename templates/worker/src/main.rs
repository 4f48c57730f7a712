//! A worker without a port, which prints a line each minute.

use std::thread;
use std::time::{Duration, SystemTime};

const PERIOD: Duration = Duration::from_secs(60);

fn main() {
    loop {
        println!("working at {:?}", SystemTime::now());
        thread::sleep(PERIOD);
    }
}
