//! The parser of each kind of value: text in, a value or "what is wrong; what to do" out.
//!
//! One parser per kind, whatever the source, so that a flag and a file cannot disagree on what is valid. Addresses
//! have their own file. Does no IO and never sees an empty text.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{LogFormat, LogLevel, ProxyProtocol, StaleCrl, TlsVersion};

/// As much of a value as a message shows.
pub(super) fn bounded(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// A file name.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.contains('\0') {
        return Err("no file name has a NUL in it; write the path out".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// What becomes of clients whose revocation list is out of date.
pub(super) fn stale_crl(text: &str) -> Result<StaleCrl, String> {
    match text {
        "refuse" => Ok(StaleCrl::Refuse),
        "accept" => Ok(StaleCrl::Accept),
        _ => Err("neither refuse nor accept; write one of them".to_owned()),
    }
}

/// True or false.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("neither true nor false; write one of them".to_owned()),
    }
}

/// A number of at least one.
pub(super) fn count(text: &str) -> Result<NonZeroU32, String> {
    NonZeroU32::new(number(text)?).ok_or_else(|| "zero; write 1 or more".to_owned())
}

/// A number, 0 for no limit.
pub(super) fn count_or_off(text: &str) -> Result<Option<NonZeroU32>, String> {
    number(text).map(NonZeroU32::new)
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        format!(
            "not a whole number from 0 to {}; write digits only",
            u32::MAX
        )
    })
}

/// A number of threads.
pub(super) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: usize = 1024;
    let threads = text.parse().ok().filter(|threads| *threads <= MOST);
    threads
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| format!("not a whole number from 1 to {MOST}; write digits only"))
}

const LEAST: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A wait that keeps something from starting: an hour at most.
pub(super) fn short_duration(text: &str) -> Result<Duration, String> {
    duration(text, HOUR)
}

/// A wait while all goes well: a month at most.
pub(super) fn long_duration(text: &str) -> Result<Duration, String> {
    duration(text, MONTH)
}

/// As [`long_duration`], 0 for no bound.
pub(super) fn long_duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Ok(None),
        Ok(_) | Err(_) => long_duration(text).map(Some),
    }
}

fn duration(text: &str, most: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|_| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            "has no unit; write ms, s, m or h behind it, like 10s".to_owned()
        } else {
            "not a duration; write a number and a unit, like 500ms, 10s, 5m or 1h".to_owned()
        }
    })?;
    if duration < LEAST {
        return Err(format!(
            "too short; write {} or more",
            humantime::format_duration(LEAST)
        ));
    }
    if duration > most {
        return Err(format!(
            "too long; write {} or less",
            humantime::format_duration(most)
        ));
    }
    Ok(duration)
}

/// The name of a route, which is also a label value.
pub(super) fn route_name(text: &str) -> Result<Arc<str>, String> {
    const LONGEST: usize = 63;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.len() > LONGEST || !text.bytes().all(plain) {
        return Err(format!(
            "not a route name; write up to {LONGEST} of letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(text.into())
}

/// A TLS version.
pub(super) fn tls_version(text: &str) -> Result<TlsVersion, String> {
    one_of(text, TLS_VERSIONS)
}

/// Whether there is a PROXY header.
pub(super) fn proxy_protocol(text: &str) -> Result<ProxyProtocol, String> {
    one_of(text, PROXY_PROTOCOLS)
}

/// How a log line looks.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    one_of(text, LOG_FORMATS)
}

/// The least important level.
pub(super) fn log_level(text: &str) -> Result<LogLevel, String> {
    one_of(text, LOG_LEVELS)
}

const TLS_VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
const PROXY_PROTOCOLS: &[(&str, ProxyProtocol)] =
    &[("off", ProxyProtocol::Off), ("v2", ProxyProtocol::V2)];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self, TLS_VERSIONS))
    }
}

impl fmt::Display for ProxyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self, PROXY_PROTOCOLS))
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self, LOG_FORMATS))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self, LOG_LEVELS))
    }
}

/// The text that means this value.
fn name_of<'a, T: PartialEq>(value: &T, choices: &[(&'a str, T)]) -> &'a str {
    let chosen = choices.iter().find(|(_, choice)| choice == value);
    chosen.map_or("", |(name, _)| name)
}

fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = choices.iter().find(|(name, _)| *name == text);
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("unknown; write {}", names.join(" or "))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(short_duration(text), Ok(Duration::from_millis(millis)));
        }
        assert_eq!(long_duration("30days"), Ok(MONTH));
        assert_eq!(long_duration_or_off("0"), Ok(None));
        assert_eq!(long_duration_or_off("0s"), Ok(None));
        assert_eq!(long_duration_or_off("1h"), Ok(Some(HOUR)));
        for (text, why) in [
            ("10", "has no unit; write ms, s, m or h behind it, like 10s"),
            (
                "ten",
                "not a duration; write a number and a unit, like 500ms, 10s, 5m or 1h",
            ),
            (
                "-1s",
                "not a duration; write a number and a unit, like 500ms, 10s, 5m or 1h",
            ),
            (
                "99999999999999999999s",
                "not a duration; write a number and a unit, like 500ms, 10s, 5m or 1h",
            ),
            ("0", "too short; write 1ms or more"),
            ("0s", "too short; write 1ms or more"),
            ("999us", "too short; write 1ms or more"),
            ("61m", "too long; write 1h or less"),
            ("5M", "too long; write 1h or less"),
        ] {
            assert_eq!(short_duration(text), Err(why.to_owned()), "{text}");
        }
        assert_eq!(
            long_duration("31days"),
            Err("too long; write 30days or less".to_owned())
        );
    }

    #[test]
    fn numbers_are_digits_within_bounds() {
        assert_eq!(count("1"), Ok(NonZeroU32::MIN));
        assert_eq!(count_or_off("0"), Ok(None));
        assert_eq!(count("0"), Err("zero; write 1 or more".to_owned()));
        for text in ["-1", "4294967296", "1e3", "many", "1 000"] {
            assert!(
                count(text).is_err() && count_or_off(text).is_err(),
                "{text}"
            );
        }
        assert_eq!(threads("1024").map(NonZeroUsize::get), Ok(1024));
        for text in ["0", "1025", "-1", "x"] {
            assert!(threads(text).is_err(), "{text}");
        }
    }

    #[test]
    fn route_names_are_safe_as_labels() {
        let longest = "x".repeat(63);
        for text in ["a", "gke-metadata-server", "A_1.b", &longest] {
            assert_eq!(route_name(text).as_deref(), Ok(text));
        }
        for text in ["a b", "a/b", "ä", "a\"b", &"x".repeat(64)] {
            assert!(route_name(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in any::<String>()) {
            drop(path(&text));
            drop(switch(&text));
            drop(count_or_off(&text));
            drop(threads(&text));
            drop(long_duration_or_off(&text));
            drop(route_name(&text));
            drop(tls_version(&text));
            prop_assert!(bounded(&text).chars().count() <= 121);
        }

        #[test]
        fn any_duration_is_parsed_within_its_bounds_or_refused(text in "[0-9]{1,20}(ns|us|ms|s|m|h|d|w|M|y)") {
            if let Ok(duration) = long_duration(&text) {
                prop_assert!((LEAST..=MONTH).contains(&duration));
            }
        }
    }
}
