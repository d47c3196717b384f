//! What can be made of good lists: others beside them, others in their stead.

use super::pki::{CLIENT, Case, Cert, Half, Keys, List, Place, Scope};
use super::random::Random;
use crate::support::craft::DAY;

pub(super) const HALVES: [Half; 2] = [Half::One, Half::Other];

/// Changes one thing about the lists of a case; it has some.
pub(super) fn spoil(random: &mut Random, case: &mut Case) {
    let chosen = chosen(random, case);
    let mut list = case.lists[chosen].clone();
    match random.below(20) {
        0..=3 => {
            let serial = somebody_of(random, case, &list);
            case.lists[chosen].revoked.push((serial, reason(random)));
        }
        // Another list of the same issuer, older or newer, that says something else.
        4..=7 => {
            let serial = somebody_of(random, case, &list);
            let times = [
                (-2 * DAY, 5 * DAY),
                (-2 * DAY, -1),
                (-100, 8 * DAY),
                (-100, 0),
                (-DAY, 7 * DAY),
                (-DAY, 7 * DAY),
                (-DAY, 7 * DAY),
                (0, 8 * DAY),
                (1, 8 * DAY),
                (DAY, 8 * DAY),
            ];
            (list.from, list.to) = {
                let (from, to) = random.pick(&times);
                (from, Some(to))
            };
            list.number = Some(random.pick(&[0, 1, 2, 100]));
            match random.percent(50) {
                true => list.revoked.push((serial, reason(random))),
                false => case.lists[chosen].revoked.push((serial, reason(random))),
            }
            case.lists.push(list);
        }
        8 => case.lists[chosen].to = Some(random.pick(&[-1, 0, 1])),
        9 => case.lists[chosen].from = random.pick(&[0, 1, DAY]),
        10 | 11 => case.lists[chosen].scope = scope(random, case, &list),
        12..=15 => partition(random, case, chosen),
        16 => {
            list.signer = random.below(Keys::COUNT);
            list.from = random.pick(&[-2 * DAY, -DAY, -100]);
            list.key_id = random.pick(&[list.key_id, None, Some(list.signer as u8)]);
            case.lists.push(list);
        }
        17 => case.lists[chosen].key_id = random.pick(&[None, Some(200)]),
        18 => {
            case.lists.remove(chosen);
        }
        _ => unusable(random, &mut case.lists[chosen]),
    }
    // No list at all would be no flag at all, which is another question.
    if case.lists.is_empty() {
        case.lists.push(List::of(99, 0));
    }
}

/// One that the client hangs on, as often as not.
fn chosen(random: &mut Random, case: &Case) -> usize {
    let own = |list: &List| list.issuer == case.client.issuer && list.signer == case.client.signer;
    match case.lists.iter().position(own) {
        Some(own) if random.percent(50) => own,
        _ => random.below(case.lists.len()),
    }
}

/// The serial number of a certificate that the list could speak of.
fn somebody_of(random: &mut Random, case: &Case, list: &List) -> u8 {
    let all = case.sent.iter().chain(&case.bundle).chain([&case.client]);
    let of_issuer: Vec<u8> = all
        .filter(|one| one.issuer == list.issuer)
        .map(|one| one.serial)
        .collect();
    match &*of_issuer {
        [] => case.client.serial,
        all => random.pick(all),
    }
}

fn reason(random: &mut Random) -> Option<u8> {
    match random.below(6) {
        // removeFromCRL
        0 => Some(8),
        1 | 2 => Some(1),
        _ => None,
    }
}

fn scope(random: &mut Random, case: &Case, list: &List) -> Scope {
    let places = [
        Place::Url(1),
        Place::Url(2),
        Place::Ca(list.issuer),
        Place::Ca(50),
    ];
    let mut scope = Scope::default();
    match random.below(6) {
        0 => scope.users = true,
        1 => scope.cas = true,
        2 => scope.reasons = Some(random.pick(&HALVES)),
        3 => {
            scope.at = case
                .client
                .points
                .first()
                .map_or(Vec::new(), |point| point.at.clone())
        }
        4 => scope.at = vec![Place::Url(3), random.pick(&places)],
        _ => scope.at = vec![random.pick(&places)],
    }
    scope
}

/// In place of one list, two that share its certificates or its reasons between them.
fn partition(random: &mut Random, case: &mut Case, chosen: usize) {
    let (mut one, mut other) = (case.lists[chosen].clone(), case.lists[chosen].clone());
    match random.below(3) {
        0 => (one.scope.users, other.scope.cas) = (true, true),
        1 => {
            one.scope.reasons = Some(Half::One);
            other.scope.reasons = Some(Half::Other);
        }
        _ => {
            one.scope.at = vec![Place::Url(1)];
            other.scope.at = vec![Place::Url(2)];
        }
    }
    if random.percent(40) {
        let serial = somebody_of(random, case, &one);
        other.revoked.push((serial, reason(random)));
    }
    if random.percent(30) {
        other.from = random.pick(&[-2 * DAY, -100, 1]);
    }
    if random.percent(20) {
        other.to = Some(random.pick(&[-1, 0, 1]));
    }
    case.lists[chosen] = one;
    case.lists.push(other);
}

fn unusable(random: &mut Random, list: &mut List) {
    match random.below(11) {
        0 => list.version_1 = true,
        1 => list.number = None,
        2 => list.to = None,
        3 => list.to = Some(list.from - 1),
        4 => list.delta = true,
        5 => list.critical = true,
        6 => list.critical_entry = true,
        7 => list.scope.indirect = true,
        8 => list.scope.attributes = true,
        _ => (list.scope.users, list.scope.cas) = (true, true),
    }
}

/// True if the list is one that its issuer's key signed, and that says something of certificates like this one.
pub(super) fn speaks(list: &List, certificate: &Cert) -> bool {
    let is_ca = certificate.subject != CLIENT;
    list.issuer == certificate.issuer
        && list.signer == certificate.signer
        && (is_ca || !list.scope.cas)
        && !(is_ca && list.scope.users)
}
