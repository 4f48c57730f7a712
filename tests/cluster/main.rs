//! The truth, on the lab.
#![expect(missing_docs, reason = "a test program")]
