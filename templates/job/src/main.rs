//! A program that ends, so it runs as a Job.

fn main() {
    println!("hello, cluster");
}
