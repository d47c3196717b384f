//! The end of a verdict is right: until then it stays, whoever asks, and it hangs on nothing else.

use proptest::prelude::*;

use super::*;
use crate::craft::DAY;

/// Times at which something may begin or end, in seconds from now; close to each other, so that they meet.
fn moment() -> impl Strategy<Value = i64> {
    -6..=12_i64
}

/// When something begins, and when it ends; mostly about now.
fn span() -> impl Strategy<Value = (i64, i64)> {
    prop_oneof![
        3 => (-DAY..=0, 20..=DAY),
        2 => (-DAY..=0, moment()).prop_map(|(from, to)| (from, to.max(from))),
        1 => (moment(), 0..=DAY).prop_map(|(from, to)| (from, to.max(from))),
    ]
}

/// A list: when it counts, its number, whom it revokes of three, and for which certificates it speaks.
type Paper = ((i64, i64), u8, Vec<u8>, u8);

fn papers() -> impl Strategy<Value = Vec<Paper>> {
    let lists = (
        span(),
        0..4_u8,
        prop::collection::vec(0..6_u8, 0..3),
        0..8_u8,
    );
    prop::collection::vec(lists, 0..4)
}

fn list(ca: &Ca, paper: &Paper) -> Vec<u8> {
    let ((from, to), number, revoked, scope) = paper;
    let list = craft::List::of(ca.name, revoked)
        .between(*from, *to)
        .number(*number);
    let scoped = |parts: &[&[u8]]| list.clone().and(Extension::scope(parts));
    let list = match scope {
        0 => scoped(&[&[0x81, 1, 0xff]]),
        1 => scoped(&[&[0x82, 1, 0xff]]),
        2 => scoped(&[&[0x83, 2, 6, 0b0100_0000]]),
        3 => scoped(&[&[0x83, 3, 7, 0b0011_1111, 0b1000_0000]]),
        _ => list,
    };
    list.signed_by(&ca.key)
}

/// Whether somebody is let in, and until when.
fn end(judged: Result<Arc<Verified>, Refusal>) -> Option<i64> {
    let until = judged.ok()?.validity.not_after.as_secs();
    Some(i64::try_from(until).unwrap() - NOW)
}

thread_local! {
    static CAS: [Ca; 3] = {
        let (root, other) = (Ca::root("root"), Ca::root("other"));
        let sub = root.below("sub");
        [root, other, sub]
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4000 }))]

    /// A root, another that vouches for the same CA below it, that CA in the bundle or sent, a client; lists of all three.
    #[test]
    fn a_verdict_stays_until_its_end_whoever_asks(
        spans in prop::collection::vec(span(), 5),
        papers in (papers(), papers(), papers()),
        has_lists in any::<bool>(),
        sub_is_in_bundle in any::<bool>(),
        is_crossed in any::<bool>(),
        accepts_stale in any::<bool>(),
        serial in 0..6_u8,
        start in -3..=3_i64,
    ) {
        CAS.with(|[root, other, sub]| {
            let between = |certificate: Certificate, place: usize| {
                certificate.between(spans[place].0, spans[place].1)
            };
            let of_root = root.again(|it| between(it, 0));
            let of_other = other.again(|it| between(it, 1));
            let by_root = between(Certificate::ca("sub", "root", &sub.key), 2).number(4).signed_by(&root.key);
            let by_other = between(Certificate::ca("sub", "other", &sub.key), 3).number(5).signed_by(&other.key);
            let client = sub.client_made(|it| between(it, 4).number(serial));
            let mut bundle: Vec<&[u8]> = vec![&of_root, &of_other];
            let mut chain: Vec<&[u8]> = vec![&client];
            match sub_is_in_bundle {
                true => bundle.push(&by_root),
                false => chain.push(&by_root),
            }
            if is_crossed {
                chain.push(&by_other);
            }
            let (a, b, c) = &papers;
            let all = [(root, a), (other, b), (sub, c)];
            let lists: Vec<Vec<u8>> = all
                .into_iter()
                .flat_map(|(ca, papers)| papers.iter().map(move |paper| list(ca, paper)))
                .chain([root, other, sub].map(|ca| craft::List::of(ca.name, &[9]).between(-2 * DAY, DAY).number(0).signed_by(&ca.key)))
                .collect();
            let lists: Vec<&[u8]> = match has_lists {
                true => lists.iter().map(Vec::as_slice).collect(),
                false => Vec::new(),
            };
            let stale = if accepts_stale { StaleCrl::Accept } else { StaleCrl::Refuse };
            let judges = || trust_as(&bundle, &lists, stale);
            let fresh = |seconds| end(verify_at(&judges(), &chain, seconds));
            let remembering = judges();
            let first = remembering.admit(&Allow::AnyClient, &shown(&chain), at(start));
            let first = first.ok().map(|(verified, _)| verified);
            let Some(until) = end(first.clone().ok_or(Refusal::TooMany(0))) else {
                // Refused: nothing is remembered, and it may get in as soon as somebody else would.
                for seconds in start..=start + 8 {
                    let again = end(verify_at(&remembering, &chain, seconds));
                    prop_assert_eq!(again, fresh(seconds), "at {} after a refusal", seconds);
                }
                return Ok(());
            };
            let first = first.unwrap();
            prop_assert!(until >= start);
            // It is the last second of a certificate, or the one before a list begins or ends.
            let of_lists = all.into_iter().flat_map(|(_, papers)| papers);
            let of_lists = of_lists.flat_map(|((from, to), ..)| [from - 1, to - 1]);
            let ends: Vec<i64> = spans.iter().map(|(_, to)| *to).chain(of_lists).chain([DAY - 1]).collect();
            prop_assert!(ends.contains(&until), "{} is no end of anything", until);
            let stop = until.min(start + 20);
            for seconds in (start..=stop).chain([until - 1, until]).filter(|seconds| *seconds >= start) {
                let own = fresh(seconds);
                prop_assert!(own.is_some(), "until {} from {}, and refused at {}", until, start, seconds);
                prop_assert!(own >= Some(until), "{:?} at {}", own, seconds);
            }
            // Afterwards what was found before counts for nothing: who asks again hears what a stranger to it hears.
            for seconds in [until + 1, until + 2, until + 5] {
                let again = remembering.admit_again(&Allow::AnyClient, &first, at(seconds));
                let again = end(again.map(|(verified, _)| verified));
                prop_assert_eq!(again.is_some(), fresh(seconds).is_some(), "at {} after {}", seconds, until);
                let anew = end(verify_at(&remembering, &chain, seconds));
                prop_assert_eq!(anew.is_some(), again.is_some(), "at {} after {}", seconds, until);
            }
            Ok(())
        })?;
    }
}
