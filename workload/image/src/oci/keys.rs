//! Keys that two readers may take for one another.
//!
//! Readers in Go match keys without regard to case and take the last one, readers in other
//! languages do neither. An object with `rootfs` and `ROOTFS` has one digest and two meanings, so
//! it is refused. Objects whose keys are the author's own (labels, annotations) are left alone.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// A document in which no object has two keys that differ in case only.
#[derive(Debug)]
pub struct OneCase;

const FREE: [&str; 3] = ["Labels", "annotations", "history"];

impl<'d> Deserialize<'d> for OneCase {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Walk)
    }
}

struct Walk;

impl<'d> DeserializeSeed<'d> for Walk {
    type Value = OneCase;
    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<OneCase, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Walk {
    type Value = OneCase;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<OneCase, E> {
        Ok(OneCase)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<OneCase, E> {
        Ok(OneCase)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<OneCase, E> {
        Ok(OneCase)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<OneCase, E> {
        Ok(OneCase)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<OneCase, E> {
        Ok(OneCase)
    }
    fn visit_unit<E: Error>(self) -> Result<OneCase, E> {
        Ok(OneCase)
    }
    fn visit_seq<A: SeqAccess<'d>>(self, mut items: A) -> Result<OneCase, A::Error> {
        while items.next_element_seed(Walk)?.is_some() {}
        Ok(OneCase)
    }
    fn visit_map<A: MapAccess<'d>>(self, mut entries: A) -> Result<OneCase, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if FREE.contains(&key.as_str()) {
                entries.next_value::<IgnoredAny>()?;
            } else {
                entries.next_value_seed(Walk)?;
            }
            if !seen.insert(key.to_lowercase()) {
                return Err(A::Error::custom("two keys of one object differ in case only"));
            }
        }
        Ok(OneCase)
    }
}
