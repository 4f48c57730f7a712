//! The validity of credentials: client certificates and tokens.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::Value;

/// The period in which a credential is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it begins, if it is known.
    pub begin: Option<Timestamp>,
    /// When it ends.
    pub end: Timestamp,
}

impl Validity {
    /// Describes the validity at `now`, as the end of a sentence about the credential.
    pub fn describe(&self, now: Timestamp) -> String {
        match self.begin {
            _ if self.end < now => format!("expired at {}", self.end),
            Some(begin) if begin > now => format!("is not valid before {begin}"),
            _ => format!("is valid until {}", self.end),
        }
    }
}

/// Returns the validity of the first certificate in a PEM file.
pub fn certificate_validity(pem: &str) -> Option<Validity> {
    let body = pem.split("-----BEGIN CERTIFICATE-----").nth(1)?;
    let body: String = body.split("-----END").next()?.split_whitespace().collect();
    validity_of_der(&BASE64_STANDARD.decode(body).ok()?)
}

/// Returns the validity of the first certificate in the base64 of a PEM file, as in a
/// kubeconfig.
pub fn certificate_data_validity(data: &str) -> Option<Validity> {
    let data: String = data.split_whitespace().collect();
    certificate_validity(&String::from_utf8(BASE64_STANDARD.decode(data).ok()?).ok()?)
}

/// Returns the validity of a JSON Web Token; other tokens do not contain one.
pub fn token_validity(token: &str) -> Option<Validity> {
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let time = |name: &str| Timestamp::from_second(claims[name].as_i64()?).ok();
    Some(Validity { begin: time("nbf"), end: time("exp")? })
}

/// Reads `Certificate.tbsCertificate.validity` (RFC 5280, section 4.1).
fn validity_of_der(der: &[u8]) -> Option<Validity> {
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = read_value(der)?;
    let (_, mut fields, _) = read_value(certificate)?;
    if *fields.first()? == VERSION {
        (_, _, fields) = read_value(fields)?;
    }
    // The serial number, the signature algorithm, and the issuer.
    for _ in 0..3 {
        (_, _, fields) = read_value(fields)?;
    }
    let (_, validity, _) = read_value(fields)?;
    let (begin_tag, begin, rest) = read_value(validity)?;
    let (end_tag, end, _) = read_value(rest)?;
    Some(Validity { begin: Some(read_time(begin_tag, begin)?), end: read_time(end_tag, end)? })
}

/// Returns the tag and the content of a DER value, and the bytes after it.
fn read_value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = bytes.iter().try_fold(0_usize, |length, byte| {
            length.checked_mul(256).map(|length| length + usize::from(*byte))
        });
        (length?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Reads a `UTCTime` such as `260131120000Z`, or a `GeneralizedTime` with all four digits of
/// the year.
fn read_time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // RFC 5280: years from 50 on belong to the 20th century.
        UTC_TIME if text >= "5" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, time) = (part(0, 8)?, part(8, 14)?);
    format!("{date}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn certificate_has_validity() {
        // Created by OpenSSL 3.0: `openssl ca -startdate … -enddate …`.
        let table = [
            (include_str!("expiry/expired.crt"), "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
            // Years from 2050 on are encoded as `GeneralizedTime`.
            (include_str!("expiry/future.crt"), "2040-01-01T00:00:00Z", "2060-01-01T00:00:00Z"),
        ];
        for (pem, begin, end) in table {
            let expected = Some(Validity { begin: Some(time(begin)), end: time(end) });
            assert_eq!(certificate_validity(pem), expected);
            assert_eq!(certificate_data_validity(&BASE64_STANDARD.encode(pem)), expected);
            let truncated = &pem[..pem.len() / 2];
            assert_eq!(certificate_validity(truncated), None);
        }
        assert_eq!(certificate_validity("no certificate"), None);
        assert_eq!(certificate_data_validity("DATA+OMITTED"), None);
    }

    #[test]
    fn token_has_validity_if_it_is_a_json_web_token() {
        let token = |claims: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let expected = Validity {
            begin: Some(time("2026-01-01T00:00:00Z")),
            end: time("2026-01-01T01:00:00Z"),
        };
        let claims = r#"{"nbf":1767225600,"exp":1767229200}"#;
        assert_eq!(token_validity(&token(claims)), Some(expected));
        for other in ["abc", "a.b.c", "", &token("{}")] {
            assert_eq!(token_validity(other), None, "{other}");
        }
    }

    #[test]
    fn validity_is_described_at_a_time() {
        let validity = Validity {
            begin: Some(time("2026-01-01T00:00:00Z")),
            end: time("2027-01-01T00:00:00Z"),
        };
        let table = [
            ("2025-06-01T00:00:00Z", "is not valid before 2026-01-01T00:00:00Z"),
            ("2026-06-01T00:00:00Z", "is valid until 2027-01-01T00:00:00Z"),
            ("2027-06-01T00:00:00Z", "expired at 2027-01-01T00:00:00Z"),
        ];
        for (now, expected) in table {
            assert_eq!(validity.describe(time(now)), expected);
        }
    }
}
