//! Which form of the metrics a client wants: its `Accept` fields in, one of two answers out (RFC 9110 section 12.5.1).
//!
//! Its own file because it is a small grammar of its own. What is malformed counts as not sent, and whoever wants
//! neither form gets the plain text: a scrape that can be read is worth more than a 406.

/// How much something is wanted, in thousandths; 0 is not at all.
type Quality = u16;
const MOST: Quality = 1000;

/// True if the client would rather have OpenMetrics than the Prometheus text format.
pub(super) fn prefers_openmetrics<'a>(fields: impl Iterator<Item = &'a str> + Clone) -> bool {
    let wanted = |form: Form| {
        fields
            .clone()
            .flat_map(|field| split(field, ','))
            .filter_map(Range::parse)
            .filter_map(|range| Some((range.precision(form)?, range.quality)))
            // The most precise range speaks; of two alike the first, as if the other had not been sent.
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .map_or((0, 0), |(precision, quality)| (quality, precision))
    };
    let (open, text) = (wanted(OPENMETRICS), wanted(TEXT));
    // Wanted alike, the one that is named more precisely: `application/openmetrics-text, */*` asks for OpenMetrics.
    open.0 > 0 && open > text
}

/// What there is to be had.
#[derive(Clone, Copy)]
struct Form {
    kind: &'static str,
    subtype: &'static str,
    version: &'static str,
}

const OPENMETRICS: Form = Form {
    kind: "application",
    subtype: "openmetrics-text",
    version: "1.0.0",
};
const TEXT: Form = Form {
    kind: "text",
    subtype: "plain",
    version: "0.0.4",
};

/// One element of the list: what may come, and how much it is wanted.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    quality: Quality,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split(text, ';');
        let (kind, subtype) = parts.next()?.trim_matches(BLANK).split_once('/')?;
        if !is_token(kind) || !is_token(subtype) || (kind == "*" && subtype != "*") {
            return None;
        }
        let mut range = Self {
            kind,
            subtype,
            version: None,
            quality: MOST,
        };
        for parameter in parts {
            let parameter = parameter.trim_matches(BLANK);
            if parameter.is_empty() {
                continue;
            }
            let (name, value) = parameter.split_once('=')?;
            if !is_token(name) {
                return None;
            }
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
                // What follows the weight belongs to an older grammar, and nobody sends it.
                break;
            }
            if name.eq_ignore_ascii_case("version") {
                range.version = Some(value.trim_matches('"'));
            }
            // `charset` and `escaping` are said of names and letters that the metrics do not have.
        }
        Some(range)
    }

    /// How precisely this names a form; `None` if it does not.
    fn precision(&self, form: Form) -> Option<u8> {
        if self.kind == "*" {
            return Some(0);
        }
        if !self.kind.eq_ignore_ascii_case(form.kind) {
            return None;
        }
        if self.subtype == "*" {
            return Some(1);
        }
        if !self.subtype.eq_ignore_ascii_case(form.subtype) {
            return None;
        }
        match self.version {
            None => Some(2),
            Some(version) => (version == form.version).then_some(3),
        }
    }
}

const BLANK: [char; 2] = [' ', '\t'];

/// `0`, `0.5`, `1.000`: three digits behind the point at most (RFC 9110 section 12.4.2).
fn quality(text: &str) -> Option<Quality> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: Quality = format!("{digits:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(MOST),
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// The parts between separators that stand in no quoted string (RFC 9110 section 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let literal = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted => escaped = !literal,
            '"' if !literal => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Prometheus sends: 2.42, 2.49, 2.49 with native histograms, 3.3, 3.11, 3.11 with native histograms.
    const PROMETHEUS: [&str; 6] = [
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,\
         application/openmetrics-text;version=1.0.0;q=0.4,application/openmetrics-text;version=0.0.1;q=0.3,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,\
         */*;q=0.2",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
         application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=underscores;q=0.3,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    ];

    #[test]
    fn every_prometheus_gets_openmetrics_unless_it_was_told_otherwise() {
        for accept in PROMETHEUS {
            assert!(prefers_openmetrics([accept].into_iter()), "{accept}");
        }
        // `scrape_protocols: [PrometheusText0.0.4]`.
        for accept in [
            "text/plain;version=0.0.4;q=0.6,*/*;q=0.5",
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.4",
        ] {
            assert!(!prefers_openmetrics([accept].into_iter()), "{accept}");
        }
    }

    #[test]
    fn the_weight_decides_and_then_how_precisely_it_is_named() {
        let cases: &[(&[&str], bool)] = &[
            (&[], false),
            (&[""], false),
            (&["*/*"], false),
            (&["text/*"], false),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], false),
            (&["application/openmetrics-text"], true),
            (&["Application/OpenMetrics-Text; Version=1.0.0"], true),
            (&["application/*"], true),
            (&["application/openmetrics-text;q=0"], false),
            (&["application/openmetrics-text;Q=0.000"], false),
            (&["application/openmetrics-text;q=0, */*"], false),
            (&["application/openmetrics-text, */*"], true),
            (&["*/*, application/openmetrics-text"], true),
            (
                &["application/openmetrics-text;q=0.1, text/plain;q=0.9"],
                false,
            ),
            (
                &["application/openmetrics-text;q=0.9, text/plain;q=0.1"],
                true,
            ),
            (&["application/openmetrics-text, text/plain"], false),
            (
                &["application/openmetrics-text;q=0.2, text/plain;q=0"],
                true,
            ),
            (&["application/openmetrics-text;q=0.2, */*;q=0.1"], true),
            (&["application/*;q=0.5, text/plain;q=0.4"], true),
            (&["application/*, application/openmetrics-text;q=0"], false),
            (&["text/plain;q=0, application/json"], false),
            // A version that is not to be had is not this form.
            (&["application/openmetrics-text;version=0.0.1"], false),
            (
                &["application/openmetrics-text;version=2.0.0, text/plain;q=0.1"],
                false,
            ),
            (
                &["application/openmetrics-text;version=\"1.0.0\", text/plain;q=0.1"],
                true,
            ),
            (
                &[
                    "application/openmetrics-text;q=0.2, application/openmetrics-text;version=1.0.0;q=0, text/plain;q=0.1",
                ],
                false,
            ),
            // Several fields are one list.
            (
                &["text/plain;q=0.4", "application/openmetrics-text;q=0.5"],
                true,
            ),
            (
                &[
                    "application/openmetrics-text",
                    "application/openmetrics-text;q=0",
                ],
                true,
            ),
            // A separator in a quoted string separates nothing.
            (&["text/plain;x=\"a,application/openmetrics-text\""], false),
            (
                &["text/plain;q=0.1;x=\"\\\",\", application/openmetrics-text"],
                true,
            ),
            // Malformed elements were not sent.
            (&["application/openmetrics-text;q=x"], false),
            (&["application/openmetrics-text;q=2"], false),
            (&["application/openmetrics-text;q=1.001"], false),
            (&["application/openmetrics-text;q=0.9999"], false),
            (&["application/openmetrics-text;q=-1"], false),
            (&["application/openmetrics-text;q="], false),
            (&["application/openmetrics-text;q"], false),
            (&["application/ openmetrics-text"], false),
            (&["*/openmetrics-text"], false),
            (&["openmetrics-text"], false),
            (&[";;,,=, application/openmetrics-text;;q=1"], true),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                prefers_openmetrics(fields.iter().copied()),
                *expected,
                "{fields:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_fields_are_read_without_a_panic(fields in proptest::collection::vec("[a-z*/;,=q0-9.\"\\\\ \\PC]{0,40}", 0..4)) {
            prefers_openmetrics(fields.iter().map(String::as_str));
        }

        #[test]
        fn a_weight_of_zero_is_never_answered(rest in "[ -~]{0,40}") {
            let field = format!("application/openmetrics-text;q=0,text/plain,{rest}");
            // Unless it is asked for in another way, by name.
            prop_assume!(!rest.to_ascii_lowercase().contains("openmetrics"));
            prop_assume!(!rest.contains('"'));
            prop_assert!(!prefers_openmetrics([field.as_str()].into_iter()));
        }
    }
}
