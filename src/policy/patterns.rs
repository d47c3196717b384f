//! URI patterns by origin and segment, so that a verdict costs the same for one pattern and for ten thousand.

use std::collections::HashMap;

use super::UriPattern;
use super::uri::Plain;

/// Patterns with wildcards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Patterns {
    origins: HashMap<String, Node>,
    count: usize,
}

/// What may follow a path so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    segments: HashMap<String, Node>,
    /// `*`.
    any: Option<Box<Node>>,
    /// The pattern that goes on with `/**`.
    rest: Option<UriPattern>,
    /// The pattern that ends here.
    end: Option<UriPattern>,
}

impl Patterns {
    /// Adds a pattern; false if it was there.
    pub(super) fn insert(&mut self, pattern: UriPattern) -> bool {
        let Some(Plain { origin, path }) = pattern.plain() else {
            return false;
        };
        let mut node = self.origins.entry(origin.to_owned()).or_default();
        let mut rest = false;
        for segment in path.split('/') {
            match segment {
                "**" => rest = true,
                "*" => node = node.any.get_or_insert_default(),
                literal => node = node.segments.entry(literal.to_owned()).or_default(),
            }
        }
        let place = if rest { &mut node.rest } else { &mut node.end };
        let new = place.replace(pattern.clone()).is_none();
        self.count += usize::from(new);
        new
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The pattern that covers this URI; of several the one that says most, segment by segment.
    pub(super) fn find(&self, uri: &Plain<'_>) -> Option<&UriPattern> {
        self.origins.get(uri.origin)?.find(uri.path.split('/'))
    }

    /// Every pattern, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &UriPattern> {
        let mut nodes: Vec<&Node> = self.origins.values().collect();
        let mut all = Vec::with_capacity(self.count);
        while let Some(node) = nodes.pop() {
            nodes.extend(node.segments.values());
            nodes.extend(node.any.as_deref());
            all.extend(node.rest.iter().chain(&node.end));
        }
        all.into_iter()
    }
}

impl Node {
    /// Goes no deeper than the longest pattern, however long the path is.
    fn find<'a>(&self, mut path: impl Iterator<Item = &'a str> + Clone) -> Option<&UriPattern> {
        let Some(segment) = path.next() else {
            return self.end.as_ref();
        };
        let literal = self.segments.get(segment);
        literal
            .and_then(|node| node.find(path.clone()))
            .or_else(|| self.any.as_ref().and_then(|node| node.find(path)))
            .or(self.rest.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], uri: &str) -> Option<String> {
        let mut tree = Patterns::default();
        for pattern in patterns {
            assert!(
                tree.insert(UriPattern::parse(pattern).unwrap()),
                "{pattern}"
            );
        }
        assert_eq!(tree.len(), patterns.len());
        assert_eq!(tree.iter().count(), patterns.len());
        tree.find(&Plain::parse(uri)?).map(ToString::to_string)
    }

    #[test]
    fn the_pattern_that_says_most_is_found() {
        let patterns = [
            "spiffe://td/**",
            "spiffe://td/*/sa/**",
            "spiffe://td/ns/*",
            "spiffe://td/ns/a/*",
            "spiffe://other/ns/a/*",
        ];
        for (uri, pattern) in [
            ("spiffe://td/ns/a/x", Some("spiffe://td/ns/a/*")),
            ("spiffe://td/ns/b", Some("spiffe://td/ns/*")),
            ("spiffe://td/ns/sa/x", Some("spiffe://td/*/sa/**")),
            ("spiffe://td/ns/b/x", Some("spiffe://td/**")),
            ("spiffe://third/ns/a", None),
            ("spiffe://other/ns/b/x", None),
        ] {
            assert_eq!(found(&patterns, uri).as_deref(), pattern, "{uri}");
        }
    }

    #[test]
    fn a_pattern_written_twice_is_one() {
        let mut tree = Patterns::default();
        let pattern = UriPattern::parse("spiffe://td/*").unwrap();
        assert!(tree.insert(pattern.clone()));
        assert!(!tree.insert(pattern));
        assert_eq!(tree.len(), 1);
    }
}
