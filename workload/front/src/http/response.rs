//! Answers as bytes.

use super::date::date;
use super::refusal::Refusal;
use casemate_relay::Answer;
use std::fmt::Write;

/// What is said to whoever waits before it sends a body (RFC 9110, section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The bytes of a keeper's answer at a time, in seconds since 1970; with `close` the connection
/// ends with it.
#[must_use]
pub fn answer(answer: &Answer<'_>, close: bool, now: u64) -> Vec<u8> {
    let mut head = begin(answer.status, answer.body.len(), close, now);
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let mut bytes = end(head);
    bytes.extend_from_slice(answer.body);
    bytes
}

/// The bytes of a refusal.
#[must_use]
pub fn refuse(refusal: &Refusal, now: u64) -> Vec<u8> {
    let body = refusal.body();
    let mut head = begin(refusal.status, body.len(), true, now);
    if refusal.status == 405 {
        // RFC 9110, section 15.5.6.
        head.push_str("Allow: GET, POST\r\n");
    }
    if let Some(seconds) = refusal.retry_after {
        let _ = write!(head, "Retry-After: {seconds}\r\n");
    }
    let mut bytes = end(head);
    if !refusal.bodiless {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

fn begin(status: u16, length: usize, close: bool, now: u64) -> String {
    let (reason, date) = (reason(status), date(now));
    let mut head = format!("HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n");
    // Nothing of this is for who comes later: sessions, and secrets that are sealed to one of them.
    head.push_str("Content-Type: application/json\r\nCache-Control: no-store\r\n");
    let _ = write!(head, "Content-Length: {length}\r\n");
    if close {
        head.push_str("Connection: close\r\n");
    }
    head
}

fn end(mut head: String) -> Vec<u8> {
    head.push_str("\r\n");
    head.into_bytes()
}

/// A status in words (RFC 9110, section 15), for people who read over a shoulder.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}
