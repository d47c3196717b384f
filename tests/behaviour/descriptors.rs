//! What is promised can be kept: of the places that the limit of descriptors leaves, all can be taken at once.

use std::net::TcpStream;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Connection;
use crate::support::gate::Setup;
use crate::support::pki::{Pki, temporary_folder, write};
use crate::support::{eventually, raise_descriptor_limit, target};

/// A gate with so many routes and threads, and so many descriptors.
fn setup(pki: &Arc<Pki>, target: &str, [routes, threads, limit]: [usize; 3]) -> (TempDir, Setup) {
    let folder = temporary_folder();
    let route = |number| {
        format!(
            "[[route]]\nname = \"r{number}\"\nlisten = \"127.0.0.1:0\"\ntarget = {target:?}\nallow_any_client = true\n"
        )
    };
    let path = folder.path().join("gate.toml");
    write(&path, &(0..routes).map(route).collect::<String>());
    let limit = format!("--nofile={limit}");
    let setup = Setup::bare()
        .flag("--admin", "127.0.0.1:0")
        .flag("--threads", threads.to_string())
        .credentials(pki)
        .under(&["prlimit", &limit])
        .file(&path, routes);
    (folder, setup)
}

#[test]
fn every_place_that_the_descriptors_leave_can_be_taken() {
    raise_descriptor_limit();
    let (pki, target) = (Pki::shared(), target::echo());
    let client = pki.client("many");
    for numbers in [[1, 1, 64], [1, 2, 64], [20, 4, 256], [3, 8, 512]] {
        let (_folder, setup) = setup(&pki, &target.flag(), numbers);
        let [routes, _, limit] = numbers;
        let gate = setup.start();
        let lowered = gate
            .log
            .wait_for_record("caps", |record| record["event"] == "limits_lowered");
        let cap = |name: &str| lowered[name].as_u64().expect("a number") as usize;
        let (connections, handshakes) = (cap("connections"), cap("handshakes"));
        let address = |number: usize| gate.route(&format!("r{}", number % routes));

        let silent = |number| TcpStream::connect(address(number)).expect("the gate accepts");
        let mut inside: Vec<_> = (0..connections)
            .map(|number| client.connect(address(number)))
            .collect();
        inside.iter_mut().for_each(Connection::prove_admitted);
        let strangers: Vec<_> = (0..handshakes).map(silent).collect();
        let open = (connections + handshakes) as f64;
        let metrics =
            gate.wait_for_metrics("all places are taken", |metrics| metrics.open() == open);
        assert_eq!(metrics.value("portcullis_limits_lowered", &[]), 1.0);
        // What is kept free is for moments: reading files, callers of the admin listener.
        let used = metrics.value("process_open_fds", &[]) as usize;
        assert!(
            used <= limit && used + limit / 8 + 30 > limit,
            "{used} {numbers:?}"
        );
        let callers: Vec<_> = (0..2)
            .map(|_| TcpStream::connect(gate.admin()).expect("it accepts"))
            .collect();
        for number in 0..3 {
            gate.signal(Signal::HUP);
            gate.log.wait_for("a look", |records| {
                let looks = records.iter().filter(|r| r["event"] == "reload_unchanged");
                (looks.count() > number).then_some(())
            });
        }
        // One more is told so and nobody else suffers.
        let mut more = client.connect(address(0));
        assert!(more.refusal().is_some());
        inside.iter_mut().for_each(Connection::prove_admitted);
        let outcomes: Vec<Value> = gate
            .records(1)
            .into_iter()
            .map(|record| record["outcome"].clone())
            .collect();
        assert!(
            outcomes.iter().all(|outcome| outcome == "over_limit"),
            "{numbers:?}: {outcomes:?}"
        );
        assert_eq!(
            gate.metrics().value("portcullis_accept_errors_total", &[]),
            0.0
        );
        drop((strangers, callers, inside));
        eventually("everybody left", || {
            (gate.metrics().open() == 0.0).then_some(())
        });
    }
}

#[test]
fn with_too_few_for_a_single_client_it_does_not_start_and_says_how_many_it_takes() {
    let (pki, target) = (Pki::shared(), target::echo());
    let (_folder, few) = setup(&pki, &target.flag(), [20, 4, 100]);
    let (code, said) = few.run();
    assert_eq!(code, 1, "{said}");
    for text in [
        "limit of 100 file descriptors",
        "20 routes on 4 threads",
        "ulimit -n",
    ] {
        assert!(said.contains(text), "{text} in {said}");
    }
    let takes = said
        .split(" take ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let takes: usize = takes.and_then(|number| number.parse().ok()).expect(&said);
    let (_folder, enough) = setup(&pki, &target.flag(), [20, 4, takes]);
    let gate = enough.start();
    pki.client("one").connect(gate.route("r0")).prove_admitted();
    let (_folder, one_less) = setup(&pki, &target.flag(), [20, 4, takes - 1]);
    assert_eq!(one_less.run().0, 1);
}
