//! Reloads while clients connect, exchange and hold sessions: no failure, no wrong byte, nothing lost.

use super::*;

#[test]
fn two_hundred_reloads_fail_no_connection_and_change_no_byte() {
    under_load(200);
}

fn under_load(reloads: usize) {
    const CLIENTS: usize = 50;
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.lists = vec!["ca.crl"];
    let lists = [
        [ours.revoking(&[]), theirs.revoking(&[])].concat(),
        [ours.revoking(&[&ours.client("bad")]), theirs.revoking(&[])].concat(),
    ];
    let bundles = [
        [&*ours.pem, &*theirs.pem].concat(),
        [&*theirs.pem, &*ours.pem].concat(),
    ];
    let first = [("ca.crl", lists[0].as_bytes())];
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &bundles[0], &first);
    let address = mounted.gate.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let authority = if number % 2 == 0 { &ours } else { &theirs };
            mounted.client(&authority.client("good"))
        })
        .collect();
    let servers: Vec<_> = (0..10).map(|_| mounted.servers.server()).collect();
    mounted.gate.wait_until_ready();
    let descriptors = mounted.gate.descriptors();
    let watches = mounted.gate.watches();
    let over = AtomicBool::new(false);
    let (sessions, exchanges) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let exchange = |connection: &mut crate::support::client::Connection, seed: usize| {
        let bytes = pattern(20_000, seed as u64);
        connection.send(&bytes);
        assert!(connection.receive(bytes.len()) == bytes, "wrong bytes");
        exchanges.fetch_add(1, Ordering::SeqCst);
    };
    let began = Instant::now();
    let mut warm = 0;
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            let (over, sessions, exchange) = (&over, &sessions, &exchange);
            scope.spawn(move || {
                let mut round = number;
                // Half of them connect anew for every exchange, half hold one session for all.
                let holds = number % 4 < 2;
                while !over.load(Ordering::SeqCst) {
                    let mut connection = knock(address, client).expect("nobody is refused");
                    sessions.fetch_add(1, Ordering::SeqCst);
                    exchange(&mut connection, round);
                    while holds && !over.load(Ordering::SeqCst) {
                        round += 1;
                        exchange(&mut connection, round);
                        // Holding is the point, not throughput.
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    connection.finish();
                    assert_eq!(connection.ending(), Ending::Clean);
                }
            });
        }
        for number in 0..reloads {
            let generation = mounted.gate.generation();
            let server = &servers[number % servers.len()];
            match number % 4 {
                0 => replace_pair(&mut mounted.mount, server),
                1 => {
                    let bundle = &bundles[(number / 4 + 1) % 2];
                    mounted.mount.update(&[("ca.crt", bundle.as_bytes())]);
                }
                2 => {
                    let list = &lists[(number / 4 + 1) % 2];
                    mounted.mount.update(&[("ca.crl", list.as_bytes())]);
                }
                _ => {
                    rules.route = allow(&["good", ["one", "other"][number / 4 % 2]]);
                    mounted.rule(&rules);
                }
            }
            mounted.gate.wait_for_generation_after(generation);
            if number == reloads / 4 {
                warm = mounted.gate.resident();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let took = began.elapsed();
    mounted
        .gate
        .wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    let records = events(&mounted.gate, "connection");
    assert!(
        records.iter().all(|r| r["outcome"] == "relayed"),
        "{:#?}",
        records[0]
    );
    let resident = mounted.gate.resident();
    println!(
        "{reloads} reloads in {took:?}: {} sessions, {} exchanges; {warm} KiB when warm, {resident} KiB after",
        sessions.load(Ordering::SeqCst),
        exchanges.load(Ordering::SeqCst),
    );
    assert_eq!(mounted.gate.reloads("success"), reloads as u64);
    assert_eq!(mounted.gate.reloads("failure"), 0);
    eventually("as many descriptors as before", || {
        (mounted.gate.descriptors() <= descriptors).then_some(())
    });
    assert_eq!(mounted.gate.watches(), watches);
    assert!(
        resident < warm + warm / 4 + 4_096,
        "{warm} KiB grew to {resident} KiB"
    );
}

#[test]
fn reloads_leak_no_memory_no_descriptor_and_no_watch() {
    // `make soak` asks for ten thousand.
    let reloads = std::env::var("SOAK_RELOADS")
        .ok()
        .and_then(|text| text.parse().ok());
    let reloads: usize = reloads.unwrap_or(100);
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "1h");
    let servers: Vec<_> = (0..10).map(|_| mounted.servers.server()).collect();
    let mut seen = None;
    let began = Instant::now();
    let mut generation = mounted.gate.generation();
    for number in 0..reloads {
        replace_pair(&mut mounted.mount, &servers[number % servers.len()]);
        generation = mounted.gate.wait_for_generation_after(generation);
        if number % 50 == 49 {
            assert!(is_admitted(mounted.gate.address(), &client));
        }
        // When everything has been used once, it has its size.
        if number == 50.min(reloads / 2) || number % 1_000 == 999 {
            let now = (
                mounted.gate.resident(),
                mounted.gate.descriptors(),
                mounted.gate.watches(),
            );
            println!(
                "{number} reloads, {:?}: {now:?} KiB, descriptors, watches",
                began.elapsed()
            );
            seen.get_or_insert(now);
        }
    }
    let (resident, descriptors, watches) = seen.expect("there were some");
    let after = mounted.gate.resident();
    println!(
        "{reloads} reloads in {:?}: {resident} KiB, then {after} KiB",
        began.elapsed()
    );
    mounted
        .gate
        .wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    eventually("as many descriptors as before", || {
        (mounted.gate.descriptors() <= descriptors).then_some(())
    });
    assert_eq!(mounted.gate.watches(), watches);
    assert!(
        after < resident + 4_096,
        "{resident} KiB grew to {after} KiB"
    );
    assert_eq!(mounted.gate.reloads("success"), reloads as u64);
}
