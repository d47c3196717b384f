//! The certificates of the gate's own file in, those that lead from the first one upward out.
//!
//! Its own file because a good chain need be no straight line (RFC 8446 section 4.4.2): a CA may be there twice,
//! signed by two others, and what does not belong there may stand beside. Asks who signed what and nothing else: no
//! time, no purpose, no trust.

use std::fmt;

use crate::trust::own::Certificate;

/// The most certificates that one warning names.
const NAMED: usize = 4;

/// A certificate and where in the file it stands, counted from one.
#[derive(Clone, Copy)]
pub(super) struct Placed<'c> {
    pub(super) place: usize,
    pub(super) certificate: &'c Certificate<'c>,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "certificate {} ({:?})",
            self.place,
            self.certificate.name()
        )
    }
}

impl Placed<'_> {
    /// By name, byte for byte, and by the signature. A signature that cannot be checked counts: that clients cannot
    /// check it either is told elsewhere.
    fn issued(&self, below: &Self) -> bool {
        self.has_the_name_of_the_issuer_of(below)
            && below.certificate.is_signed_by(self.certificate) != Some(false)
    }

    fn has_the_name_of_the_issuer_of(&self, below: &Self) -> bool {
        self.certificate.parsed.subject().as_raw() == below.certificate.parsed.issuer().as_raw()
    }

    fn is_among(&self, others: &[Self]) -> bool {
        others.iter().any(|other| other.place == self.place)
    }

    /// True for a root: clients have it, or do not trust it.
    pub(super) fn issued_itself(&self) -> bool {
        self.issued(self)
    }
}

/// What to send, and what is odd about the rest.
pub(super) struct Line<'c> {
    /// The first certificate and all that lead upward from it, in the order of the file.
    pub(super) sent: Vec<Placed<'c>>,
    /// One sentence each.
    pub(super) warnings: Vec<String>,
}

/// Follows the issuers from the first certificate upward.
///
/// What is on no way up is not sent: it helps no client, and some count what they are sent (Java takes ten). The order
/// is left as it is: clients find their way through any, and of two ways up OpenSSL takes the one that comes first.
///
/// # Errors
/// If the way ends at once: there are others, and none of them issued the first.
pub(super) fn line<'c>(certificates: &'c [Certificate<'c>]) -> Result<Line<'c>, String> {
    let mut warnings = Vec::new();
    let mut once: Vec<Placed<'c>> = Vec::new();
    for (place, certificate) in (1..).zip(certificates) {
        match once.iter().find(|it| it.certificate.der == certificate.der) {
            Some(first) => warnings.push(format!(
                "certificate {place} is certificate {} once more and is not sent twice; take it out",
                first.place
            )),
            None => once.push(Placed { place, certificate }),
        }
    }
    let mut found: Vec<Placed<'c>> = once.iter().take(1).copied().collect();
    let mut end = None;
    let mut followed = 0;
    while let Some(below) = found.get(followed).copied() {
        followed += 1;
        let others = once.iter().filter(|it| it.place != below.place);
        let above: Vec<_> = others.filter(|it| it.issued(&below)).copied().collect();
        if above.is_empty() {
            end = Some(below);
        }
        warnings.extend(odd_order(&below, &above));
        let new = above.iter().filter(|it| !it.is_among(&found)).copied();
        found.extend(new.collect::<Vec<_>>());
    }
    let (sent, strays): (Vec<_>, Vec<_>) = once.into_iter().partition(|it| it.is_among(&found));
    if let ([leaf], [_, ..]) = (&*sent, &*strays)
        && !leaf.issued_itself()
    {
        return Err(broken(leaf, &strays));
    }
    warnings.extend(end.and_then(|end| not_sent(&end, &strays)));
    Ok(Line { sent, warnings })
}

fn odd_order(below: &Placed<'_>, above: &[Placed<'_>]) -> Vec<String> {
    let mut odd = Vec::new();
    if let Some(early) = above.iter().find(|it| it.place < below.place) {
        odd.push(format!(
            "{early} stands before {below}, which it issued; today's clients sort them, and TLS 1.2 wants each issuer \
             behind what it issued: put it there"
        ));
    }
    if let [first, second, ..] = above {
        odd.push(format!(
            "{first} and certificate {} both issued certificate {} (one CA, signed by two others); both are sent, and \
             OpenSSL clients (curl) try the first alone: put the one first that leads to the CA that they trust",
            second.place, below.place
        ));
    }
    odd
}

fn not_sent(end: &Placed<'_>, strays: &[Placed<'_>]) -> Option<String> {
    let mut named: Vec<String> = strays.iter().take(NAMED).map(ToString::to_string).collect();
    match strays.len() {
        0 => return None,
        many if many > NAMED => named.push(format!("{} more", many - NAMED)),
        _ => {}
    }
    Some(format!(
        "not sent, as no way leads there from the first certificate (it ends at certificate {}, issued by {:?}): {}; \
         take out what is not needed, or add what is missing between",
        end.place,
        end.certificate.issuer_name(),
        named.join(", ")
    ))
}

/// Why none of the others is the issuer of the first.
fn broken(leaf: &Placed<'_>, others: &[Placed<'_>]) -> String {
    let issuer = leaf.certificate.issuer_name();
    let signed = |it: &&Placed<'_>| leaf.certificate.is_signed_by(it.certificate) == Some(true);
    if let Some(signed) = others.iter().find(signed) {
        return format!(
            "{signed} signed certificate 1, but writes its name in other bytes than certificate 1 writes its issuer's, \
             and Go (Prometheus) and rustls clients compare bytes; have certificate 1 issued again"
        );
    }
    if let Some(namesake) = others
        .iter()
        .find(|it| it.has_the_name_of_the_issuer_of(leaf))
    {
        return format!(
            "{namesake} has the name of certificate 1's issuer and another key, as after making a CA again: it did not \
             sign certificate 1; put the one there that did"
        );
    }
    format!(
        "certificate 1 is issued by {issuer:?}, and none of the other certificates is that CA's; add its certificate \
         behind the first, or leave the first alone"
    )
}
