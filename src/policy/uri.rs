//! URI rules: a pattern as an operator wrote it, and a URI in its parts. Which meets which is told in `patterns`.
//!
//! Nothing is normalised on either side. A URI in which two readers could see different paths (escapes, queries,
//! empty or dot segments, user information, a port) meets exact rules only.

use std::fmt;

use super::InvalidRule;

/// A URI, exact, or with `*` in place of whole path segments, or ending in `/**` (one or more segments).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriPattern {
    text: String,
}

impl UriPattern {
    /// Parses an `--allow-uri` value. Wildcards anywhere but in the two places of docs/admission.md are refused.
    pub fn parse(text: &str) -> Result<Self, InvalidRule> {
        if text.is_empty()
            || !text.is_ascii()
            || text
                .bytes()
                .any(|byte| byte.is_ascii_control() || byte == b' ')
        {
            return Err(InvalidRule(
                "not a URI (RFC 3986 is printable ASCII without blanks); copy it from the certificate",
            ));
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(InvalidRule(
                "not a URI, it has no scheme; write it as in the certificate, like spiffe://cluster.local/ns/x",
            ));
        };
        if scheme.contains('*') {
            return Err(InvalidRule("wildcard in the scheme; write the scheme out"));
        }
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            || !scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            return Err(InvalidRule(
                "not a URI, its scheme is malformed; write it as in the certificate, like spiffe://cluster.local/ns/x",
            ));
        }
        if rest.contains('*') {
            check_wildcards(text, rest)?;
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    pub(super) fn exact(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The pattern in its parts; every one with wildcards has them.
    pub(super) fn plain(&self) -> Option<Plain<'_>> {
        Plain::parse(&self.text)
    }
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_wildcards(text: &str, rest: &str) -> Result<(), InvalidRule> {
    let Some((authority, path)) = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Err(InvalidRule(
            "wildcard outside a path; a wildcard needs scheme://authority/ written out before it",
        ));
    };
    if authority.contains('*') {
        return Err(InvalidRule(
            "wildcard in the authority; write the trust domain out",
        ));
    }
    let (before_last, last) = path.rsplit_once('/').unwrap_or(("", path));
    let wildcard_inside =
        |segment: &str| segment.contains('*') && segment != "*" && segment != "**";
    if path.split('/').any(wildcard_inside) {
        return Err(InvalidRule(
            "wildcard inside a segment; `*` stands for one whole path segment",
        ));
    }
    if before_last.split('/').any(|segment| segment == "**") {
        return Err(InvalidRule(
            "`**` before the end; it may only be the last segment",
        ));
    }
    debug_assert!(!wildcard_inside(last), "every segment was looked at");
    if Plain::parse(text).is_none() {
        return Err(InvalidRule(
            "could never match: with a wildcard the URI may have no %, ?, #, user information, port, or empty, `.` or `..` segment",
        ));
    }
    Ok(())
}

/// True for a SPIFFE ID, whose certificate must have no other URI (X509-SVID section 2).
pub(super) fn is_spiffe(uri: &str) -> bool {
    uri.get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// A URI with only one reading: `scheme://host/segment/segment…`.
pub(super) struct Plain<'a> {
    pub(super) origin: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Plain<'a> {
    pub(super) fn parse(uri: &'a str) -> Option<Self> {
        if !uri.is_ascii()
            || uri
                .bytes()
                .any(|byte| b"%?#\\".contains(&byte) || !byte.is_ascii_graphic())
        {
            return None;
        }
        let after_scheme = uri.find("://")? + 3;
        let authority_len = uri.get(after_scheme..)?.find('/')?;
        let (origin, path) = uri.split_at_checked(after_scheme + authority_len)?;
        let authority = origin.get(after_scheme..)?;
        let path = path.strip_prefix('/')?;
        let ambiguous = |segment: &str| matches!(segment, "" | "." | "..");
        let plain = !authority.is_empty()
            && !authority.contains(['@', ':'])
            && !path.split('/').any(ambiguous);
        plain.then_some(Self { origin, path })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::patterns::Patterns;
    use super::*;

    #[test]
    fn what_is_no_printable_ascii_is_told_as_that() {
        for text in [
            "",
            "https://ä.test/",
            "https://a.test/a b",
            "https://a.test/\n",
        ] {
            let said = UriPattern::parse(text).unwrap_err().to_string();
            assert!(said.contains("printable ASCII"), "{text:?}: {said}");
        }
    }

    fn matches(pattern: &str, uri: &str) -> bool {
        let pattern = UriPattern::parse(pattern).expect("the pattern is valid");
        if pattern.is_exact() {
            return pattern.text == uri;
        }
        let mut patterns = Patterns::default();
        patterns.insert(pattern);
        Plain::parse(uri).is_some_and(|uri| patterns.find(&uri).is_some())
    }

    #[test]
    fn a_star_is_one_whole_segment() {
        let pattern = "spiffe://cluster.local/ns/monitoring/sa/*";
        assert!(matches(
            pattern,
            "spiffe://cluster.local/ns/monitoring/sa/prometheus"
        ));
        for other in [
            "spiffe://cluster.local/ns/monitoring/sa/",
            "spiffe://cluster.local/ns/monitoring/sa",
            "spiffe://cluster.local/ns/monitoring/sa/a/b",
            "spiffe://cluster.local/ns/other/sa/prometheus",
            "spiffe://cluster.local.evil/ns/monitoring/sa/prometheus",
            "spiffe://CLUSTER.local/ns/monitoring/sa/prometheus",
            "spiffe://user@cluster.local/ns/monitoring/sa/prometheus",
            "spiffe://cluster.local:1/ns/monitoring/sa/prometheus",
            "spiffe://cluster.local/ns/monitoring/sa/%2e%2e",
            "spiffe://cluster.local/ns/monitoring/sa/x?y",
            "spiffe://cluster.local/ns/monitoring/sa/x#y",
            "spiffe://cluster.local/ns/monitoring/sa/..",
            "spiffe://cluster.local/ns/monitoring/sa/.",
        ] {
            assert!(!matches(pattern, other), "{other} must not match");
        }
    }

    #[test]
    fn a_double_star_is_one_or_more_segments() {
        assert!(matches("https://a/team/**", "https://a/team/x"));
        assert!(matches("https://a/team/**", "https://a/team/x/y/z"));
        assert!(!matches("https://a/team/**", "https://a/team"));
        assert!(!matches("https://a/team/**", "https://a/team/"));
        assert!(!matches("https://a/team/**", "https://a/team//x"));
        assert!(matches("https://a/*/b/**", "https://a/x/b/c"));
    }

    #[test]
    fn an_exact_rule_meets_its_own_bytes_only() {
        assert!(matches("spiffe://td/a%2Fb", "spiffe://td/a%2Fb"));
        assert!(!matches("spiffe://td/a%2Fb", "spiffe://td/a%2fb"));
        assert!(matches("urn:example:prometheus", "urn:example:prometheus"));
        assert!(!matches("spiffe://td/a", "spiffe://td/a/"));
    }

    #[test]
    fn misplaced_wildcards_are_refused() {
        for (pattern, why) in [
            ("*://td/x", "scheme"),
            ("spiffe://*/x", "authority"),
            ("spiffe://td*/x", "authority"),
            ("spiffe://td/a*", "inside a segment"),
            ("spiffe://td/***", "inside a segment"),
            ("spiffe://td/**/x", "before the end"),
            ("spiffe://td/x/*?y", "inside a segment"),
            ("spiffe://td//*", "never match"),
            ("spiffe://td/../*", "never match"),
            ("spiffe://td:80/*", "never match"),
            ("urn:*", "outside a path"),
            ("spiffe://td*", "outside a path"),
            ("nocolon", "no scheme"),
            ("", "not a URI"),
        ] {
            let error = UriPattern::parse(pattern).expect_err(pattern).to_string();
            assert!(error.contains(why), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_wildcard_never_crosses_a_segment_or_leaves_its_origin(uri in "[a-z/.:@%?#*]{0,40}") {
            let uri = format!("spiffe://{uri}");
            if matches("spiffe://td/a/*", &uri) {
                let tail = uri.strip_prefix("spiffe://td/a/").expect("the literal part must be there");
                prop_assert!(!tail.is_empty() && !tail.contains(['/', '%', '?', '#', '\\']) && tail != "." && tail != "..");
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in any::<String>()) {
            if let Ok(pattern) = UriPattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
