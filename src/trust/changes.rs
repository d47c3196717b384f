//! What a generation has that the one before had not, in words: for the log, where it is asked for after the fact.
//!
//! Its own file because nothing is decided by it. Compares what is known of both; never sees a file.

use std::collections::BTreeSet;

use super::Generation;
use super::digests::rule_lines;
use crate::config::Config;
use crate::identity::rfc3339;

/// More is only counted.
const MOST: usize = 20;

/// A line for each difference, at most 20, and one that says how many more there are.
pub fn changes(before: (&Config, &Generation), after: (&Config, &Generation)) -> Vec<String> {
    let mut lines: Vec<String> = certificate(before.1, after.1).into_iter().collect();
    for (what, old, new) in [
        ("client_ca", cas(before.1), cas(after.1)),
        ("client_crl", lists(before.1), lists(after.1)),
        ("rules", rule_lines(before.0), rule_lines(after.0)),
    ] {
        let added = new.difference(&old);
        lines.extend(added.map(|line| format!("{what}: added {line}")));
        let removed = old.difference(&new);
        lines.extend(removed.map(|line| format!("{what}: removed {line}")));
    }
    if lines.is_empty() {
        lines.push("nothing but the form or the names of the files".to_owned());
    }
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(format!("…and {more} more"));
    }
    lines
}

fn certificate(before: &Generation, after: &Generation) -> Option<String> {
    let (old, new) = (&before.server, &after.server);
    if old.fingerprint != new.fingerprint {
        let (until, to) = (
            rfc3339(old.validity.not_after),
            rfc3339(new.validity.not_after),
        );
        let (old, new) = (&old.serial, &new.serial);
        return Some(format!(
            "certificate: {old}, which expires at {until}, replaced by {new}, which expires at {to}"
        ));
    }
    (before.digests().server != after.digests().server)
        .then(|| "certificate: the same, sent with others than before".to_owned())
}

fn cas(generation: &Generation) -> BTreeSet<String> {
    let cas = generation.client_cas.iter();
    cas.map(|ca| format!("{}, serial {}", ca.facts.subject, ca.facts.serial))
        .collect()
}

fn lists(generation: &Generation) -> BTreeSet<String> {
    let lists = generation.crls.iter().map(|list| {
        let (issuer, number, entries) = (&list.issuer, &list.number, list.entries);
        let next = rfc3339(list.life.not_after);
        format!("{issuer}, number {number}, {entries} entries, next update {next}")
    });
    lists.collect()
}
