//! Many changes at once, and changes seen half-way: waited out, never served, never a failure.

use super::*;

#[test]
fn a_storm_of_swaps_ends_at_the_last_one_and_nobody_notices() {
    const SWAPS: u32 = 1_000;
    const EVERY: Duration = Duration::from_millis(10);
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "1h");
    let address = mounted.gate.address();
    let servers: Vec<_> = (0..20).map(|_| mounted.servers.server()).collect();
    let last = mounted.servers.server();
    mounted.gate.wait_until_ready();
    let descriptors = mounted.gate.descriptors();
    let over = AtomicBool::new(false);
    let scrapes = AtomicUsize::new(0);
    let (changed, took) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let mut connection = knock(address, &client).expect("no scrape fails");
                connection.finish();
                assert_eq!(connection.ending(), Ending::Clean);
                scrapes.fetch_add(1, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        for number in 1..SWAPS {
            replace_pair(
                &mut mounted.mount,
                &servers[number as usize % servers.len()],
            );
            // The pace of the storm.
            let next = began + EVERY * number;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        replace_pair(&mut mounted.mount, &last);
        let changed = Instant::now();
        let took = began.elapsed();
        over.store(true, Ordering::SeqCst);
        (changed, took)
    });
    soon("the last of the storm", changed, || {
        mounted.served(&client) == last.serial()
    });
    let (good, bad) = (
        mounted.gate.reloads("success"),
        mounted.gate.reloads("failure"),
    );
    let scrapes = scrapes.load(Ordering::SeqCst);
    println!("{SWAPS} swaps in {took:?}: {good} reloads, {bad} failures, {scrapes} scrapes");
    assert_eq!(bad, 0);
    assert!(good <= took.as_secs() * 20 + 20, "{good} reloads");
    assert!(scrapes > 0);
    mounted
        .gate
        .wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    eventually("as many descriptors as before", || {
        (mounted.gate.descriptors() <= descriptors + 2).then_some(())
    });
}

/// How a writer that does not replace files as one goes about it: each step, and a pause after each.
type Steps = fn(&Mount, &Identity);

fn put(mount: &Mount, name: &str, content: &str) {
    write(&mount.path(name), content);
}

const TORN: [(&str, Steps); 6] = [
    ("the key before the certificate", |mount, server| {
        put(mount, "tls.key", &server.key);
        pause();
        put(mount, "tls.crt", &server.chain);
    }),
    ("the certificate before the key", |mount, server| {
        put(mount, "tls.crt", &server.chain);
        pause();
        put(mount, "tls.key", &server.key);
    }),
    ("both empty at first", |mount, server| {
        put(mount, "tls.crt", "");
        put(mount, "tls.key", "");
        pause();
        put(mount, "tls.crt", &server.chain);
        pause();
        put(mount, "tls.key", &server.key);
    }),
    ("half a certificate at first", |mount, server| {
        put(mount, "tls.key", &server.key);
        put(mount, "tls.crt", &server.chain[..server.chain.len() / 2]);
        pause();
        put(mount, "tls.crt", &server.chain);
    }),
    ("files that are gone for a while", |mount, server| {
        fs::remove_file(mount.path("tls.crt")).expect("it is there");
        fs::remove_file(mount.path("tls.key")).expect("it is there");
        pause();
        put(mount, "tls.key", &server.key);
        pause();
        put(mount, "tls.crt", &server.chain);
    }),
    (
        "the certificate removed, the key rewritten",
        |mount, server| {
            fs::remove_file(mount.path("tls.crt")).expect("it is there");
            put(mount, "tls.key", &server.key);
            pause();
            put(mount, "tls.crt", &server.chain);
        },
    ),
];

#[test]
fn an_update_that_is_seen_half_way_is_waited_out() {
    for (what, steps) in TORN {
        let (mounted, client, _target) = plain(Writer::Rewrite, "1h");
        let address = mounted.gate.address();
        let (old, new) = (mounted.served(&client), mounted.servers.server());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // A certificate with the wrong key would fail the handshake.
                    let connection = knock(address, &client).expect("never a mixed pair");
                    let served = presented(&connection);
                    assert!(served == old || served == new.serial(), "{what}: {served}");
                }
            });
            steps(&mounted.mount, &new);
            let changed = Instant::now();
            soon(what, changed, || mounted.served(&client) == new.serial());
            over.store(true, Ordering::SeqCst);
        });
        assert_eq!(mounted.gate.reloads("failure"), 0, "{what}");
        assert_eq!(mounted.gate.generation(), 2, "{what}");
    }
}
