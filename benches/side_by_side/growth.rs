//! Does admission cost more as a deployment grows? The gate's handshake with many rules, many revoked serials and many
//! open sessions, against the same gate with one of each.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::Result;

use crate::burst::{hold, release};
use crate::relays::{Relay, Subject, Variant};
use crate::report::{Better, Metric};
use crate::scenarios::{CLIENTS, Setup, cpu_per_unit, handshakes, interleave};

const RULES: usize = 10_000;
const SERIALS: u64 = 200_000;

pub(crate) fn growth(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    setup.gates().map(|gate| of_one(setup, gate)).collect()
}

fn of_one(setup: &Setup<'_>, gate: &Subject) -> Result<Metric> {
    let world = setup.world;
    let sessions = setup.pace.idle;
    let start = |name: String, flags: Vec<OsString>| {
        let variant = Variant {
            flags,
            ..Variant::default()
        };
        let subject = Subject {
            label: name,
            ..gate.clone()
        };
        Relay::start(world, &subject, &variant)
    };
    let crl = |serials| -> Result<Vec<OsString>> {
        Ok(vec![
            "--client-crl".into(),
            world.pki.revoke(serials)?.into(),
        ])
    };
    let mut rules = Vec::new();
    for number in 0..RULES {
        let mut name = String::new();
        write!(name, "client-{number}.example")?;
        rules.extend(["--allow-dns".into(), name.into()]);
    }
    let relays = [
        start("one rule, no list, no session".to_owned(), Vec::new())?,
        start(format!("{RULES} more rules"), rules)?,
        start("a list of 1 revoked serial".to_owned(), crl(1)?)?,
        start(
            format!("a list of {SERIALS} revoked serials"),
            crl(SERIALS)?,
        )?,
        start(format!("{sessions} open sessions"), Vec::new())?,
    ];
    let mut held = Vec::new();
    if let Some(crowded) = relays.last() {
        hold(crowded, &mut held, sessions)?;
    }
    let title = format!("{}: handshake as a deployment grows", gate.label);
    let name = format!("growth-{}", gate.label);
    let mut metric = Metric::new(&name, &title, "µs CPU", Better::Lower);
    let mut pace = setup.pace;
    pace.rounds += 2;
    interleave([&mut metric], &relays, pace, |relay, time| {
        let spent = cpu_per_unit(relay, || handshakes(relay, CLIENTS, time))?;
        Ok([1e6 * spent])
    })?;
    if let Some(crowded) = relays.last() {
        release(crowded, held)?;
    }
    Ok(metric)
}
