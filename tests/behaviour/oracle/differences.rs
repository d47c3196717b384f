//! Where the judge and openssl are known to differ, each time for a reason, and from what the reason is seen.

use super::Question;
use super::generate::KEY_AGREEMENT;
use super::lists::speaks;
use super::pki::{Basic, Cert, List, Odd, Place};
use crate::support::craft::{DIGITAL_SIGNATURE, KEY_CERT_SIGN};

/// Who lets in what the other refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Gate,
    Openssl,
    /// Now one, now the other.
    Either,
}

/// A row of the table.
pub(super) struct Difference {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    pub(super) who: Who,
    pub(super) applies: fn(&Question<'_>) -> bool,
}

/// All there are.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "a CA is no client",
        why: "the gate admits clients; openssl takes any certificate for a leaf",
        who: Who::Openssl,
        applies: |asked| matches!(asked.client().basic, Basic::Ca(_)),
    },
    Difference {
        name: "clientAuth is listed",
        why: "no extended key usage allows everything in RFC 5280; the gate wants the word, unless it is told otherwise",
        who: Who::Openssl,
        applies: |asked| asked.client().purposes.is_none() && !asked.case.allow_missing_eku,
    },
    Difference {
        name: "key agreement signs nothing",
        why: "openssl thinks of static Diffie-Hellman; every handshake of the gate is signed",
        who: Who::Openssl,
        applies: |asked| {
            let usage = asked.client().usage.unwrap_or(0);
            usage & KEY_AGREEMENT != 0 && usage & DIGITAL_SIGNATURE == 0
        },
    },
    Difference {
        name: "version 3",
        why: "openssl reads older versions; without extensions nothing tells a client from a CA",
        who: Who::Openssl,
        applies: |asked| asked.line.iter().any(|one| one.version != 2),
    },
    Difference {
        name: "a CA says so",
        why: "RFC 5280 section 6.1.4 (k) wants basicConstraints; openssl takes keyCertSign for it, without -x509_strict",
        who: Who::Openssl,
        applies: |asked| {
            let says_otherwise = |one: &&Cert| {
                one.basic == Basic::Missing
                    && one.usage.is_some_and(|usage| usage & KEY_CERT_SIGN != 0)
            };
            asked.issuers().iter().any(says_otherwise)
        },
    },
    Difference {
        name: "no extension twice",
        why: "RFC 5280 section 4.2; openssl sees it only of those that it knows",
        who: Who::Openssl,
        applies: |asked| {
            asked
                .line
                .iter()
                .any(|one| one.odd == Some(Odd::UnknownTwice))
        },
    },
    Difference {
        name: "policies are not judged",
        why: "RFC 5280 section 4.2: what is critical and not processed is refused; openssl processes them",
        who: Who::Openssl,
        applies: |asked| asked.line.iter().any(|one| one.odd == Some(Odd::Policies)),
    },
    Difference {
        name: "constraints that are not judged",
        why: "RFC 5280 section 4.2.1.10: constraints of URIs, mail addresses and directory names that cannot be judged refuse",
        who: Who::Openssl,
        applies: |asked| {
            let constraints = asked.line.iter().filter_map(|one| one.constraints.as_ref());
            let mut bases = constraints.flat_map(|one| one.permitted.iter().chain(&one.excluded));
            bases.any(|(kind, _)| matches!(kind, 1 | 4 | 6))
        },
    },
    Difference {
        name: "six issuers",
        why: "a line has a bound here; that of openssl is a hundred",
        who: Who::Openssl,
        applies: |asked| asked.line.len() > 8,
    },
    Difference {
        name: "an unusable list",
        why: "lists that are not understood whole are not taken up, and no set with one of them: it neither lets in nor \
              takes back",
        who: Who::Either,
        applies: |asked| asked.case.lists.iter().any(List::is_unusable),
    },
    Difference {
        name: "the newest list is the list",
        why: "openssl falls back to an older list that is still good, which may lack who was revoked since",
        who: Who::Openssl,
        applies: |asked| {
            asked.has_lists(|one, other| {
                one.scope == other.scope
                    && one.has_begun()
                    && one.is_stale()
                    && !other.is_stale()
                    && one.from >= other.from
            })
        },
    },
    Difference {
        name: "every list that speaks is heard",
        why: "of lists with different scopes openssl asks one; whoever any of them revokes is revoked here",
        who: Who::Openssl,
        applies: |asked| {
            asked.has_lists(|one, other| one.scope != other.scope && one.revoked != other.revoked)
        },
    },
    Difference {
        name: "removeFromCRL in a full list",
        why: "RFC 5280 section 5.3.1 allows it in delta lists alone; openssl takes the entry for none",
        who: Who::Openssl,
        applies: |asked| {
            asked.has_list(|list| list.revoked.iter().any(|(_, reason)| *reason == Some(8)))
        },
    },
    Difference {
        name: "two lists of one moment",
        why: "with the same thisUpdate openssl takes the first, whatever the numbers; here the higher number counts",
        who: Who::Either,
        applies: |asked| {
            asked.has_lists(|one, other| {
                one.scope == other.scope && one.from == other.from && one.revoked != other.revoked
            })
        },
    },
    Difference {
        name: "key identifiers are hints",
        why: "RFC 5280 section 6 does not judge by them; openssl takes nobody for the issuer whose identifier differs",
        who: Who::Gate,
        applies: |asked| {
            let differs = |pair: &[&Cert]| {
                pair[0]
                    .said_issuer_id()
                    .zip(pair[1].said_own_id())
                    .is_some_and(|(wanted, own)| wanted != own)
            };
            asked.line.windows(2).any(differs)
        },
    },
    Difference {
        name: "key identifiers of lists are hints",
        why: "as above",
        who: Who::Gate,
        applies: |asked| {
            let differs = |list: &List, issuer: &Cert| {
                list.issuer == issuer.subject
                    && list
                        .key_id
                        .zip(issuer.own_id)
                        .is_some_and(|(wanted, own)| wanted != own)
            };
            let issuers = asked.issuers();
            asked.case.lists.iter().any(|list| {
                list.signer_is_among(issuers) && issuers.iter().any(|one| differs(list, one))
            })
        },
    },
    Difference {
        name: "the last second",
        why: "RFC 5280 section 4.1.2.5: notAfter is still inside; openssl ends a second early",
        who: Who::Gate,
        applies: |asked| asked.line.iter().any(|one| one.to == 0),
    },
    Difference {
        name: "one name, two keys",
        why: "openssl takes for the issuer whoever bears the name, where no identifier tells them apart",
        who: Who::Gate,
        applies: |asked| {
            let issuers = asked.issuers();
            issuers.iter().any(|one| {
                issuers
                    .iter()
                    .any(|other| one.subject == other.subject && one.key != other.key)
            })
        },
    },
    Difference {
        name: "lists of one name, two keys",
        why: "openssl takes the newest list that bears the name, where no identifier tells them apart",
        who: Who::Gate,
        applies: |asked| {
            let same_name = |one: &List, other: &List| {
                one.issuer == other.issuer
                    && one.signer != other.signer
                    && asked.issuers().iter().any(|ca| ca.subject == one.issuer)
            };
            asked
                .case
                .lists
                .iter()
                .any(|one| asked.case.lists.iter().any(|other| same_name(one, other)))
        },
    },
    Difference {
        name: "a CA is a name and a key",
        why: "a list counts for what the key signed that signed the list; openssl takes that of another key of the name \
              that is on the line",
        who: Who::Openssl,
        applies: |asked| {
            let issuers = asked.issuers();
            let other_key =
                |list: &List, ca: &Cert| list.issuer == ca.subject && list.signer != ca.key;
            let lists = asked
                .case
                .lists
                .iter()
                .filter(|list| list.signer_is_among(issuers));
            lists
                .into_iter()
                .any(|list| issuers.iter().any(|ca| other_key(list, ca)))
        },
    },
    Difference {
        name: "stale lists are accepted",
        why: "--stale-crl accept; openssl has no such word",
        who: Who::Gate,
        applies: |asked| asked.case.accept_stale && asked.case.lists.iter().any(List::is_stale),
    },
    Difference {
        name: "a point does not narrow a whole list",
        why: "RFC 5280 section 6.3.3: a list that names no point is processed for all reasons in the end; openssl takes \
              it for the reasons of the certificate's point only",
        who: Who::Gate,
        applies: |asked| {
            asked
                .line
                .iter()
                .any(|one| one.points.iter().any(|point| point.reasons.is_some()))
        },
    },
    Difference {
        name: "a list at the name of its issuer",
        why: "RFC 5280 section 6.3.3, last paragraph: the issuer's name is in the end everybody's point; openssl wants it in \
              the certificate",
        who: Who::Gate,
        applies: |asked| asked.has_list(|list| list.scope.at.contains(&Place::Ca(list.issuer))),
    },
    Difference {
        name: "a point without a name has no list of its own",
        why: "RFC 5280 section 6.3.3 (b)(2)(i); openssl takes it for any point",
        who: Who::Either,
        applies: |asked| {
            asked
                .line
                .iter()
                .any(|one| one.points.iter().any(|point| point.at.is_empty()))
        },
    },
];

impl Question<'_> {
    fn client(&self) -> &Cert {
        self.line[0]
    }

    fn issuers(&self) -> &[&Cert] {
        &self.line[1..]
    }

    /// True if a list that speaks for a certificate of the line is so.
    fn has_list(&self, is: impl Fn(&List) -> bool) -> bool {
        let mut lists = self.case.lists.iter();
        lists.any(|list| is(list) && self.line.iter().any(|one| speaks(list, one)))
    }

    /// True if two lists that speak for one certificate of the line stand so to each other.
    fn has_lists(&self, stand: impl Fn(&List, &List) -> bool) -> bool {
        let lists = &self.case.lists;
        let pairs = lists
            .iter()
            .flat_map(|one| lists.iter().map(move |other| (one, other)));
        pairs
            .filter(|(one, other)| {
                self.line
                    .iter()
                    .any(|certificate| speaks(one, certificate) && speaks(other, certificate))
            })
            .any(|(one, other)| stand(one, other))
    }
}

impl List {
    fn signer_is_among(&self, issuers: &[&Cert]) -> bool {
        issuers
            .iter()
            .any(|one| one.subject == self.issuer && one.key == self.signer)
    }
}
