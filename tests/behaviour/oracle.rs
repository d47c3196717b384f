//! The judge against `openssl verify`, which knows RFC 5280 from somewhere else: made-up PKIs, and one verdict on each.
//!
//! A case is taken apart into lines, ways from the client to a certificate of the bundle. On each line the judge and
//! openssl must say the same, unless a row of [`differences`] has foreseen it from what is on the line. And what the
//! judge says of the whole case must be what it says of the best line: a client's company neither helps nor harms it.
//!
//! `ORACLE_CASES` and `ORACLE_SEED` make more or others of them; `ORACLE_ONLY` is the number of a single case.

mod differences;
mod gate;
mod generate;
mod lines;
mod lists;
mod openssl;
mod pki;
mod random;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::differences::{DIFFERENCES, Who};
use self::gate::Verdict;
use self::pki::{Case, Cert, Keys};
use self::random::Random;

/// One line of a case, the client first and the anchor last.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    case: &'a Case,
    line: Vec<&'a Cert>,
}

/// What has come up, counted.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    lines: usize,
    admitted: usize,
    /// By the reason that the judge gives, where both refuse.
    refused: BTreeMap<&'static str, usize>,
    /// By the row that alone foresaw it.
    differences: BTreeMap<&'static str, usize>,
    /// Cases in which a good line was found beside what does not belong to it.
    beside_company: usize,
    /// Cases in which that is too much to be looked at.
    too_much: usize,
    wrong: Vec<String>,
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[test]
fn the_judge_and_openssl_agree_about_every_line() {
    let cases = setting("ORACLE_CASES").unwrap_or(3000);
    let seed = setting("ORACLE_SEED").unwrap_or(5280);
    let only = setting("ORACLE_ONLY");
    let range = only.map_or(0..cases, |only| only..only + 1);
    let (keys, tally) = (Keys::new(), Mutex::new(Tally::default()));
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let folder = tempfile::tempdir().unwrap();
                loop {
                    let number = range.start + next.fetch_add(1, Ordering::Relaxed) as u64;
                    if number >= range.end {
                        break;
                    }
                    let case = generate::case(&mut Random::new(seed, number));
                    let found = judge(&case, &keys, folder.path());
                    tally.lock().unwrap().add(found, number);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    let wrong = tally.wrong.len();
    let some = tally
        .wrong
        .iter()
        .take(5)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n\n");
    assert!(
        wrong == 0,
        "{wrong} disagreements with ORACLE_SEED={seed}:\n{some}\n{tally}"
    );
    println!("{tally}");
    if only.is_none() && cases >= 2000 {
        tally.is_not_hollow(seed);
    }
}

/// What one case shows.
#[derive(Default)]
struct Found {
    lines: Vec<(bool, &'static str)>,
    differences: Vec<&'static str>,
    wrong: Vec<String>,
    /// As in [`Tally`].
    beside_company: usize,
    too_much: usize,
}

fn judge(case: &Case, keys: &Keys, folder: &std::path::Path) -> Found {
    let mut found = Found::default();
    let lines = lines::of(case);
    let (mut best, mut good) = (None, Vec::new());
    for line in &lines {
        let question = Question {
            case,
            line: line.clone(),
        };
        let gate = gate::line(&question, keys);
        let theirs = openssl::ask(&question, "sslclient", keys, folder);
        let taken_back = lines::above_anchor(&question)
            .into_iter()
            .any(|above| taken_back(&above, keys, folder, &mut found));
        if let Verdict::Good(until) = gate
            && !taken_back
        {
            best = best.max(Some(until));
            good.push(line.clone());
        }
        if gate.reason() == gate::WORDLESS {
            found
                .wrong
                .push(format!("{gate}\n{}\n{question:?}", theirs.said));
        }
        if theirs.good == gate.is_good() {
            found.lines.push((gate.is_good(), gate.reason()));
            continue;
        }
        if !gate.is_good() && lines::is_too_much_alone(case, line) {
            continue;
        }
        let who = if gate.is_good() {
            Who::Gate
        } else {
            Who::Openssl
        };
        found.explain(&question, who, || format!("{gate}\n{}", theirs.said));
    }
    let whole = gate::whole(case, keys);
    let agree = match (&whole, best) {
        (Verdict::Good(until), Some(best)) => *until <= best,
        (Verdict::Bad(..), None) => true,
        (Verdict::Good(_), None) | (Verdict::Bad(..), Some(_)) => false,
    };
    let has_company = good.iter().any(|line| line.len() < case.sent.len() + 2);
    if lines::is_too_much(case, &good) {
        found.too_much = 1;
    } else if agree {
        found.beside_company = usize::from(has_company);
    } else {
        found.wrong.push(format!(
            "of {} lines the best is {best:?}, and the whole is {whole}\n{case:?}",
            lines.len()
        ));
    }
    found
}

/// Whether an entry of the bundle is revoked by another entry; both are asked.
fn taken_back(
    above: &Question<'_>,
    keys: &Keys,
    folder: &std::path::Path,
    found: &mut Found,
) -> bool {
    let gate = gate::takes_back(above, keys);
    if above.case.lists.is_empty() {
        return gate;
    }
    let theirs = openssl::ask(above, "any", keys, folder);
    let revoked = theirs.errors.contains(&openssl::REVOKED);
    if revoked != gate {
        let who = if gate { Who::Openssl } else { Who::Gate };
        found.explain(above, who, || {
            format!("the anchor is taken back: {gate}\n{}", theirs.said)
        });
    }
    gate
}

impl Found {
    /// Looks for the row that foresaw it.
    fn explain(&mut self, question: &Question<'_>, who: Who, said: impl FnOnce() -> String) {
        let fits = |row: &&differences::Difference| {
            (row.who == who || row.who == Who::Either) && (row.applies)(question)
        };
        match &*DIFFERENCES.iter().filter(fits).collect::<Vec<_>>() {
            [] => {
                let said = said();
                self.wrong.push(format!(
                    "{who:?} admits, the other does not: {said}\n{question:?}"
                ));
            }
            [row] => self.differences.push(row.name),
            // Foreseen twice over; it proves neither row.
            [_, _, ..] => {}
        }
    }
}

impl Tally {
    fn add(&mut self, found: Found, number: u64) {
        self.cases += 1;
        self.beside_company += found.beside_company;
        self.too_much += found.too_much;
        for (good, reason) in found.lines {
            self.lines += 1;
            match good {
                true => self.admitted += 1,
                false => *self.refused.entry(reason).or_default() += 1,
            }
        }
        for name in found.differences {
            *self.differences.entry(name).or_default() += 1;
        }
        let wrong = found.wrong.into_iter();
        self.wrong
            .extend(wrong.map(|wrong| format!("ORACLE_ONLY={number}: {wrong}")));
    }

    /// There is enough of everything.
    fn is_not_hollow(&self, seed: u64) {
        assert!(
            self.admitted * 4 >= self.lines,
            "too few good lines with ORACLE_SEED={seed}: {self}"
        );
        for reason in [
            "UnknownIssuer",
            "Expired",
            "Revoked",
            "StatusUnknown",
            "ListStale",
            "KeyUsage",
            "Constraints",
            "Unreadable",
        ] {
            let count = self.refused.get(reason).copied().unwrap_or(0);
            assert!(
                count >= 15,
                "too few refusals for {reason} with ORACLE_SEED={seed}: {self}"
            );
        }
        let enough = self.beside_company * 10 >= self.cases && self.too_much * 10 <= self.cases;
        assert!(
            enough,
            "too little company, or too much, with ORACLE_SEED={seed}: {self}"
        );
        for row in DIFFERENCES {
            assert!(
                self.differences.contains_key(row.name),
                "no line shows that {:?} ({}) with ORACLE_SEED={seed}: {self}",
                row.name,
                row.why
            );
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cases,
            lines,
            admitted,
            refused,
            differences,
            beside_company,
            too_much,
            wrong: _,
        } = self;
        write!(
            f,
            "{cases} cases ({beside_company} good beside company, {too_much} with too much of it), {lines} lines judged \
             alike, {admitted} of them good, refused {refused:?}; differences {differences:#?}"
        )
    }
}
