//! A service without a port that prints the shared greeting each minute.

use std::thread;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(60);

fn main() {
    loop {
        print!("{}", greeting::greeting("reporter"));
        thread::sleep(PERIOD);
    }
}
