//! The ways from a client to the bundle, by name alone: whether a signature on them is good is the judges' to say.

use super::Question;
use super::pki::{Case, Cert, Keys};

/// As many as are looked at.
const MOST: usize = 60;

/// Every line of a case that passes no CA twice.
pub(super) fn of(case: &Case) -> Vec<Vec<&Cert>> {
    let mut lines = Vec::new();
    walk(case, &distinct(case), &mut vec![&case.client], &mut lines);
    lines
}

fn distinct(case: &Case) -> Vec<&Cert> {
    let mut sent: Vec<&Cert> = Vec::new();
    for one in &case.sent {
        if !sent.contains(&one) {
            sent.push(one);
        }
    }
    sent
}

fn walk<'a>(
    case: &'a Case,
    sent: &[&'a Cert],
    way: &mut Vec<&'a Cert>,
    lines: &mut Vec<Vec<&'a Cert>>,
) {
    let last = *way.last().expect("it has a client");
    let is_new = |way: &[&Cert], next: &Cert| !way.iter().any(|one| one.is_same_ca(next));
    for anchor in case.bundle.iter().filter(|one| one.subject == last.issuer) {
        // Everybody sees that a signature is wrong: one such line of three is enough to ask about.
        let is_asked = anchor.signed(last) || (anchor.serial + last.serial).is_multiple_of(3);
        if is_new(way, anchor) && is_asked && lines.len() < MOST {
            lines.push(way.iter().copied().chain([anchor]).collect());
        }
    }
    for next in sent.iter().filter(|one| one.subject == last.issuer) {
        // A wrong signature is a dead end for everybody; one step of it is enough to see that.
        if is_new(way, next) && way.len() < 9 && lines.len() < MOST && next.signed(last) {
            way.push(next);
            walk(case, sent, way, lines);
            way.pop();
        }
    }
}

/// The question whether another entry of the bundle takes back the anchor of a line, one for each that may.
pub(super) fn above_anchor<'a>(question: &Question<'a>) -> Vec<Question<'a>> {
    let case = question.case;
    let anchor = *question.line.last().expect("it has an anchor");
    let above = case
        .bundle
        .iter()
        .filter(|one| one.signed(anchor) && one.key != anchor.key);
    above
        .map(|one| Question {
            case,
            line: vec![anchor, one],
        })
        .collect()
}

/// What the judge looks at: so many certificates beside the client's own, and wrong signatures of so much cost.
const MOST_KEPT: usize = 12;
const MOST_WASTED: usize = 4;

/// True if so much is sent beside every good line that the judge may give up before it comes to one: more certificates
/// than it keeps, or more wrong signatures than it checks that are no less likely than those of the line.
pub(super) fn is_too_much(case: &Case, good: &[Vec<&Cert>]) -> bool {
    let sent = distinct(case);
    let doubt = good.iter().map(|line| doubt(line)).min().unwrap_or(0);
    sent.len() > MOST_KEPT || is_costly(case, &sent, doubt)
}

/// True if the issuers on a line are so many of so few names that the judge may give up though nothing is sent beside them.
pub(super) fn is_too_much_alone(case: &Case, line: &[&Cert]) -> bool {
    let sent = line.get(1..line.len() - 1).unwrap_or_default();
    is_costly(case, sent, doubt(line))
}

/// How little the identifiers say for the least likely step of a line.
fn doubt(line: &[&Cert]) -> usize {
    let steps = line.windows(2).map(|pair| likely(pair[0], pair[1]));
    steps.max().unwrap_or(0)
}

/// True if wrong signatures that are no less likely than this may use up what the judge spends on them.
fn is_costly(case: &Case, sent: &[&Cert], doubt: usize) -> bool {
    let children = sent.iter().copied().chain([&case.client]);
    let wasted: Vec<usize> = children
        .flat_map(|child| {
            let issuers = case.bundle.iter().chain(sent.iter().copied());
            let mut wrong: Vec<usize> = issuers
                .filter(|issuer| issuer.subject == child.issuer && issuer.key != child.signer)
                .filter(|issuer| likely(child, issuer) <= doubt)
                .map(|issuer| issuer.key)
                .collect();
            wrong.sort_unstable();
            wrong.dedup();
            wrong.into_iter().map(Keys::cost)
        })
        .collect();
    wasted.len() > 1 && wasted.iter().sum::<usize>() >= MOST_WASTED
}

/// How little the key identifiers say for it that one issued the other: 0 is a match, 2 the contrary.
fn likely(child: &Cert, issuer: &Cert) -> usize {
    match child.said_issuer_id().zip(issuer.said_own_id()) {
        None => 1,
        Some((wanted, own)) if wanted == own => 0,
        Some(_) => 2,
    }
}
