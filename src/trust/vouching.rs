//! CA bundles and revocation lists: bytes in, the [`Trust`] that judges clients and what an operator should know of it
//! out.
//!
//! Its own file because here a judgement is told as a line of a file. What counts and what does not is `judge`'s to say.

use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::Generation;
use super::facts::{CaFacts, CrlFacts, UnreadableCa, left_out};
use super::load::{Content, Files};
use super::validate::facts;
use crate::config::{Problem, Tls};
use crate::identity::rfc3339;
use crate::judge::{Bundle, Entry, List, Lists, StaleCrl, Standing, Trust};

/// Who vouches for clients.
pub(super) struct Vouching {
    pub(super) trust: Arc<Trust>,
    /// The entries of the bundle, in its order.
    pub(super) client_cas: Vec<CaFacts>,
    /// The certificates of the bundle that are not even entries.
    pub(super) unreadable_cas: Vec<UnreadableCa>,
    /// The files of the bundle that hold revocation lists as well, and the line of the first in each.
    pub(super) idle_lists: Vec<(usize, usize)>,
    /// The lists, in the order of the files.
    pub(super) crls: Vec<CrlFacts>,
}

/// Judges bundles and lists as of `now`. What `previous` made of the same files is used again: to read a long list costs
/// seconds, and its verdicts would be lost.
///
/// # Errors
/// Everything that is wrong with any of them.
pub(super) fn vouching(
    tls: &Tls,
    files: &Files,
    previous: Option<&Generation>,
    now: UnixTime,
    warnings: &mut Vec<Problem>,
) -> Result<Vouching, Vec<Problem>> {
    let same = previous.filter(|previous| {
        previous.trust_digest == files.trust_digest()
            && previous.trust.lists().stale() == tls.stale_crl
            && previous.trust.allows_missing_eku() == tls.allow_missing_eku
    });
    let mut vouching = match same {
        Some(previous) => Vouching {
            trust: Arc::clone(&previous.trust),
            client_cas: previous.client_cas.clone(),
            unreadable_cas: previous.unreadable_cas.clone(),
            idle_lists: previous.idle_lists.clone(),
            crls: previous.crls.clone(),
        },
        None => read(tls, files)?,
    };
    vouching.name_files(files);
    let mut problems = Vec::new();
    vouching.tell_of_cas(files, now, warnings, &mut problems);
    vouching.tell_of_lists(files, now, warnings, &mut problems);
    match problems.is_empty() {
        true => Ok(vouching),
        false => Err(problems),
    }
}

fn read(tls: &Tls, files: &Files) -> Result<Vouching, Vec<Problem>> {
    let mut problems = Vec::new();
    let (mut entries, mut client_cas, mut unreadable_cas) = (Vec::new(), Vec::new(), Vec::new());
    let mut idle_lists = Vec::new();
    for (place, file) in files.client_ca.iter().enumerate() {
        let found = file.certificates_beside_lists("the CAs that vouch for clients");
        let (found, list) = found.unwrap_or_else(|problem| {
            problems.push(problem);
            (Vec::new(), None)
        });
        idle_lists.extend(list.map(|line| (place, line)));
        for (index, block) in found.iter().enumerate() {
            let number = index + 1;
            let read = Entry::read(block.certificate()).map_err(|fault| fault.to_string());
            let read = read.and_then(|entry| match facts(entry.der(), file) {
                Ok(facts) => Ok((entry, facts)),
                Err(problem) => Err(problem.what),
            });
            match read {
                Ok((entry, facts)) => {
                    entries.push(entry);
                    client_cas.push(CaFacts {
                        facts,
                        file: place,
                        number,
                    });
                }
                Err(why) => unreadable_cas.push(UnreadableCa {
                    file: place,
                    number,
                    why,
                }),
            }
        }
    }
    let (mut lists, mut crls) = (Vec::new(), Vec::new());
    for (place, file) in files.client_crl.iter().enumerate() {
        match lists_of(file) {
            Ok(found) => {
                crls.extend(found.iter().map(|list| CrlFacts::of(list, place)));
                lists.extend(found);
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let trust = Trust::new(
        Bundle::new(entries),
        Lists::new(lists, tls.stale_crl),
        tls.allow_missing_eku,
    );
    Ok(Vouching {
        trust: Arc::new(trust),
        client_cas,
        unreadable_cas,
        idle_lists,
        crls,
    })
}

/// The lists of a file, PEM or DER.
fn lists_of(file: &Content) -> Result<Vec<List>, Vec<Problem>> {
    let found = file.lists().map_err(|problem| vec![problem])?;
    let (mut lists, mut problems) = (Vec::new(), Vec::new());
    for (index, block) in found.into_iter().enumerate() {
        match List::read(block.der) {
            Ok(list) => lists.push(list),
            Err(fault) => {
                let number = index + 1;
                problems
                    .push(file.problem(format!("revocation list {number} is unusable: {fault}")));
            }
        }
    }
    match problems.is_empty() {
        true => Ok(lists),
        false => Err(problems),
    }
}

impl Vouching {
    /// Files may have other names than when they were read.
    fn name_files(&mut self, files: &Files) {
        for ca in &mut self.client_cas {
            if let Some(file) = files.client_ca.get(ca.file) {
                ca.facts.path.clone_from(&file.path);
            }
        }
        for list in &mut self.crls {
            if let Some(file) = files.client_crl.get(list.file) {
                list.path.clone_from(&file.path);
            }
        }
    }

    /// Warns of every entry that vouches for nobody now; none left is a problem.
    fn tell_of_cas(
        &self,
        files: &Files,
        now: UnixTime,
        warnings: &mut Vec<Problem>,
        problems: &mut Vec<Problem>,
    ) {
        let left_out = left_out(&self.trust, &self.client_cas, &self.unreadable_cas, now);
        let vouch = self.client_cas.len() + self.unreadable_cas.len() > left_out.len();
        if vouch {
            let told = left_out.into_iter();
            warnings.extend(
                told.filter_map(|(file, words)| Some(files.client_ca.get(file)?.problem(words))),
            );
            return;
        }
        let words: Vec<String> = left_out.into_iter().map(|(_, words)| words).collect();
        problems.extend(files.client_ca.first().map(|file| {
            file.problem(format!(
                "no CA in the bundle can vouch for clients: {}; put a valid CA certificate there",
                words.join("; ")
            ))
        }));
    }

    fn tell_of_lists(
        &self,
        files: &Files,
        now: UnixTime,
        warnings: &mut Vec<Problem>,
        problems: &mut Vec<Problem>,
    ) {
        let idle = self.idle_lists.iter();
        warnings.extend(idle.filter_map(|(file, line)| {
            let file = files.client_ca.get(*file)?;
            let also_given = |list: &Content| list.path == file.path;
            (!files.client_crl.iter().any(also_given)).then(|| {
                file.problem(format!(
                    "line {line}: a revocation list, which revokes nobody in a file of CAs; give the file with \
                     --client-crl as well, or take the list out"
                ))
            })
        }));
        for (list, facts) in self.trust.lists().all().iter().zip(&self.crls) {
            let Some(file) = files.client_crl.get(facts.file) else {
                continue;
            };
            let issuer = &facts.issuer;
            match self.trust.standing(list, now) {
                Standing::Counts => {
                    warnings.extend(age(facts, self.trust.lists().stale(), now).map(|words| file.problem(words)));
                }
                Standing::Waits => warnings.push(file.problem(format!(
                    "the revocation list of {issuer:?} waits: its issuer is no CA of the bundle. It counts once a client \
                     sends the certificate of that CA; if the CA was taken out of the bundle, take its list out too"
                ))),
                Standing::WaitsBesideNamesake { ca } => warnings.push(file.problem(format!(
                    "the revocation list of {issuer:?} waits: it was not signed by the CA {ca:?} of the bundle, which has \
                     another list, but by one of the same name. It counts once a client sends the certificate of that \
                     one; if it is of no use any more, take it out"
                ))),
                Standing::OfLeftOut { ca } => warnings.push(file.problem(format!(
                    "the revocation list of {issuer:?} is not used: the CA {ca:?} that signed it is left out; take both out"
                ))),
                Standing::Bad(why) => {
                    problems.push(file.problem(format!("the revocation list of {issuer:?} is bad: {why}")));
                }
            }
        }
        if self.crls.is_empty() || !problems.is_empty() {
            return;
        }
        let silent = self.trust.bundle().entries().iter().zip(&self.client_cas);
        let silent = silent
            .filter(|(entry, _)| self.trust.vouches(entry, now) && !self.trust.has_list(entry));
        warnings.extend(silent.filter_map(|(_, ca)| {
            let words = format!(
                "no revocation list is signed by {:?}, so every client that it issued is refused; give its list with \
                 --client-crl",
                ca.facts.subject
            );
            Some(files.client_ca.get(ca.file)?.problem(words))
        }));
    }
}

/// What there is to say of the age of a list that counts.
fn age(list: &CrlFacts, stale: StaleCrl, now: UnixTime) -> Option<String> {
    let issuer = &list.issuer;
    if now < list.life.not_before {
        let from = rfc3339(list.life.not_before);
        return Some(format!(
            "the revocation list of {issuer:?} does not count before {from} (thisUpdate); check this machine's clock"
        ));
    }
    let effect = match stale {
        StaleCrl::Refuse => "clients that it speaks for are refused",
        StaleCrl::Accept => "it counts as if it were new, as --stale-crl says",
    };
    (list.life.not_after <= now).then(|| {
        let since = rfc3339(list.life.not_after);
        format!(
            "the revocation list of {issuer:?} is stale since {since}: {effect}; fetch a newer one"
        )
    })
}
