//! Asks the judge.

use std::time::Duration;

use portcullis::judge::{Bundle, Chain, Entry, List, Lists, Refusal, StaleCrl, Trust, Why};
use portcullis::policy::Allow;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::Question;
use super::pki::{Case, Cert, Keys};
use crate::support::craft::NOW;

/// In place of a reason: only webpki knows it, and there is no sentence of our own.
pub(super) const WORDLESS: &str = "wordless";

/// What the gate says.
pub(super) enum Verdict {
    /// Let in until then.
    Good(u64),
    Bad(&'static str, String),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Good(until) => write!(f, "good until {until}"),
            Self::Bad(reason, said) => write!(f, "{reason}: {said}"),
        }
    }
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Good(_))
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Good(_) => "good",
            Self::Bad(reason, _) => reason,
        }
    }
}

fn reason(refusal: &Refusal) -> &'static str {
    match refusal.kind().as_str() {
        "unknown_issuer" => "UnknownIssuer",
        "expired" => "Expired",
        "revoked" => "Revoked",
        "status_unknown" => "StatusUnknown",
        "list_stale" => "ListStale",
        "key_usage" => "KeyUsage",
        "constraints" => "Constraints",
        "unreadable" => "Unreadable",
        "no_rule" => "NoRule",
        other => panic!("{other} is no verdict on a certificate"),
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()))
}

/// `None` if the set is not taken up for one of its lists.
fn trust<'a>(
    case: &Case,
    bundle: impl IntoIterator<Item = &'a Cert>,
    keys: &Keys,
) -> Option<Trust> {
    let mut lists = Vec::new();
    for list in &case.lists {
        let read = List::read(list.der(keys).to_vec());
        assert_eq!(read.is_err(), list.is_unusable(), "{read:?}: {list:#?}");
        lists.push(read);
    }
    let lists = lists.into_iter().collect::<Result<_, _>>().ok()?;
    let entries = bundle.into_iter().map(|one| {
        let der = CertificateDer::from(one.der(keys).to_vec());
        Entry::read(der).expect("its names and times can be read")
    });
    let stale = match case.accept_stale {
        true => StaleCrl::Accept,
        false => StaleCrl::Refuse,
    };
    let bundle = Bundle::new(entries.collect());
    Some(Trust::new(
        bundle,
        Lists::new(lists, stale),
        case.allow_missing_eku,
    ))
}

fn ask(trust: Option<&Trust>, shown: &[CertificateDer<'_>]) -> Verdict {
    let Some(trust) = trust else {
        return Verdict::Bad("unusable list", String::new());
    };
    let (client, others) = shown.split_first().expect("a client shows something");
    let judged = Chain::shown(client, others)
        .and_then(|chain| trust.admit(&Allow::AnyClient, &chain, now()));
    match judged {
        Ok((verified, _)) => Verdict::Good(verified.validity.not_after.as_secs()),
        Err(refusal) => {
            let said = refusal.to_string();
            match said.contains("not as RFC 5280 wants it") {
                true => Verdict::Bad(WORDLESS, said),
                false => Verdict::Bad(reason(&refusal), said),
            }
        }
    }
}

/// Of a line alone: its anchor is the bundle, and the client sends what is between.
pub(super) fn line(question: &Question<'_>, keys: &Keys) -> Verdict {
    let (anchor, shown) = question.line.split_last().expect("a line has an anchor");
    let shown: Vec<_> = shown
        .iter()
        .map(|one| CertificateDer::from(one.der(keys)))
        .collect();
    ask(trust(question.case, [*anchor], keys).as_ref(), &shown)
}

/// Of everything.
pub(super) fn whole(case: &Case, keys: &Keys) -> Verdict {
    let shown = [&case.client].into_iter().chain(&case.sent);
    let mut shown: Vec<_> = shown
        .map(|one| CertificateDer::from(one.der(keys)))
        .collect();
    if case.junk {
        shown.insert(1, CertificateDer::from(&b"no certificate"[..]));
    }
    ask(trust(case, &case.bundle, keys).as_ref(), &shown)
}

/// Whether the second on the line, an entry of the bundle as the first, takes that back.
pub(super) fn takes_back(question: &Question<'_>, keys: &Keys) -> bool {
    let Some(trust) = trust(question.case, question.line.iter().copied(), keys) else {
        return false;
    };
    let is_taken_back = |(place, why): (usize, Why)| place == 0 && why == Why::Revoked;
    trust.left_out(now()).into_iter().any(is_taken_back)
}
