//! Revocation lists: who is refused, what the client hears and what the record says.

use super::*;

/// A gate with one revocation list, and how three clients fare: by their alert, `None` for one who is let in.
fn with_lists(
    lists: &[u8],
    bundle: &str,
    tls: &str,
    clients: &[&Identity],
) -> (Mounted, Target<target::Ended>, Vec<Result<(), Ending>>) {
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good", "bad"]);
    rules.lists = vec!["ca.crl"];
    rules.tls = tls.to_owned();
    let mounted = Mounted::start(Writer::Kubelet, &rules, bundle, &[("ca.crl", lists)]);
    let fared = clients.iter().map(|identity| {
        let client = mounted.client(identity);
        knock(mounted.gate.address(), &client).map(|_| ())
    });
    let fared = fared.collect();
    (mounted, target, fared)
}

#[test]
fn a_revoked_client_is_told_so_by_a_list_in_pem_and_in_der() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let list = ca.list(&list_params([bad.number()]));
    for bytes in [list.pem().expect("PEM").into_bytes(), list.der().to_vec()] {
        let (mounted, target, fared) = with_lists(&bytes, &ca.pem, "", &[&good, &bad]);
        assert_eq!(fared[0], Ok(()));
        assert_eq!(
            fared[1],
            Err(Ending::Alert(AlertDescription::CertificateRevoked))
        );
        assert_eq!(
            target.accepts(),
            1,
            "the target never heard of the revoked one"
        );
        let records = mounted.gate.records(2);
        let refused = records.iter().find(|r| r["outcome"] == "handshake_failed");
        let reason = refused.map(|record| text(record, "reason").to_owned());
        assert!(
            reason.as_ref().is_some_and(|r| r.contains("revoked")),
            "{reason:?}"
        );
        let status = mounted.gate.status();
        assert_eq!(status["client_crl"][0]["entries"], 1, "{status}");
        let file = mounted.mount.path("ca.crl").display().to_string();
        assert_eq!(status["client_crl"][0]["file"], file, "{status}");
    }
}

#[test]
fn a_list_among_cas_is_told_and_counts_once_its_file_is_one_of_lists() {
    let ca = Authority::root("clients");
    let bad = ca.client("bad");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["bad"]);
    let both = [&*ca.pem, &*ca.revoking(&[&bad])].concat();
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &both, &[]);
    let client = mounted.client(&bad);
    assert!(is_admitted(mounted.gate.address(), &client));
    let told = |mounted: &Mounted| {
        let told = events(&mounted.gate, "configuration");
        told.iter()
            .filter(|told| text(told, "message").contains("which revokes nobody in a file of CAs"))
            .count()
    };
    assert_eq!(told(&mounted), 1);

    rules.lists = vec!["ca.crt"];
    mounted.rule(&rules);
    eventually("the list counts", || {
        is_refused(
            mounted.gate.address(),
            &client,
            AlertDescription::CertificateRevoked,
        )
        .then_some(())
    });
    assert_eq!(told(&mounted), 1, "it counts now");
}

#[test]
fn a_client_below_a_revoked_intermediate_is_refused() {
    let root = Authority::root("clients");
    let mut params = authority_params("a revoked intermediate");
    params.serial_number = Some(rcgen::SerialNumber::from(0x2002_u64));
    let (middle, _) = root.intermediate(params);
    let (spared, _) = root.intermediate(authority_params("a good intermediate"));
    let below = |middle: &Authority| middle.issue(client_params([dns("good.test")]), &[middle]);
    let lists = [
        root.list(&list_params([0x2002])).pem().expect("PEM"),
        middle.revoking(&[]),
        spared.revoking(&[]),
    ];
    // The issuing CAs are met only when a client sends them; their lists wait until then.
    let clients = [below(&middle), below(&spared)];
    let (mounted, _target, fared) = with_lists(
        lists.concat().as_bytes(),
        &root.pem,
        "",
        &[&clients[0], &clients[1]],
    );
    let revoked = AlertDescription::CertificateRevoked;
    assert_eq!(fared, [Err(Ending::Alert(revoked)), Ok(())]);
    let told = events(&mounted.gate, "configuration");
    let waits = |list: &str| {
        let said = told.iter().map(|r| text(r, "message"));
        said.filter(|said| said.contains("waits"))
            .any(|said| said.contains(list))
    };
    assert!(
        waits("a revoked intermediate") && waits("a good intermediate"),
        "{told:?}"
    );
    let records = mounted.gate.records(2);
    let reason = text(&records[0], "reason");
    assert_eq!(
        reason,
        "the intermediate CA \"CN=a revoked intermediate\" is revoked"
    );
    // A CA of the bundle that another one of it revokes vouches for nobody.
    let bundle = [&*root.pem, &*middle.pem, &*spared.pem].concat();
    let (mounted, _target, fared) = with_lists(
        lists.concat().as_bytes(),
        &bundle,
        "",
        &[&clients[0], &clients[1]],
    );
    assert_eq!(fared, [Err(Ending::Alert(revoked)), Ok(())]);
    let told = events(&mounted.gate, "configuration");
    let left_out = |r: &Value| {
        text(r, "message").contains("is left out: \"CN=a revoked intermediate\" is revoked")
    };
    assert!(told.iter().any(left_out), "{told:?}");
}

#[test]
fn a_list_whose_issuer_nobody_met_opens_nothing_and_blocks_nothing() {
    let (ours, gone) = (Authority::root("ours"), Authority::root("gone"));
    let good = ours.client("good");
    let lists = [ours.revoking(&[]), gone.revoking(&[])].concat();
    let (_mounted, _target, fared) = with_lists(lists.as_bytes(), &ours.pem, "", &[&good]);
    assert_eq!(fared, [Ok(())]);
    let lists = gone.revoking(&[]);
    let (mounted, target, fared) = with_lists(lists.as_bytes(), &ours.pem, "", &[&good]);
    assert!(fared[0].is_err() && target.accepts() == 0);
    let told = events(&mounted.gate, "configuration");
    for what in [
        "\"CN=gone\" waits",
        "no revocation list is signed by \"CN=ours\"",
    ] {
        assert!(
            told.iter().any(|r| text(r, "message").contains(what)),
            "{what}: {told:?}"
        );
    }
}

#[test]
fn a_client_whose_status_no_list_knows_is_refused_with_the_true_cause_in_the_record() {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let bundle = [&*ours.pem, &*theirs.pem].concat();
    let (good, unknown) = (ours.client("good"), theirs.client("good"));
    let list = ours.revoking(&[]);
    let (mounted, target, fared) = with_lists(list.as_bytes(), &bundle, "", &[&good, &unknown]);
    assert_eq!(fared[0], Ok(()));
    assert!(fared[1].is_err());
    println!("{fared:?}");
    assert_eq!(target.accepts(), 1);
    let records = mounted.gate.records(2);
    let refused = records
        .iter()
        .find(|r| r["outcome"] == "handshake_failed")
        .expect("a refusal");
    assert!(
        text(refused, "reason").contains("no revocation list"),
        "{refused}"
    );
}

#[test]
fn a_stale_list_refuses_or_counts_as_the_operator_says() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let mut params = list_params([bad.number()]);
    params.this_update = (SystemTime::now() - Duration::from_secs(7_200)).into();
    params.next_update = (SystemTime::now() - Duration::from_secs(3_600)).into();
    let list = ca.list(&params).pem().expect("PEM");
    let revoked = Err(Ending::Alert(AlertDescription::CertificateRevoked));
    for setting in ["", "stale_crl = \"refuse\"\n"] {
        let (mounted, target, fared) =
            with_lists(list.as_bytes(), &ca.pem, setting, &[&good, &bad]);
        // What a stale list does not name is unknown; what it names is revoked.
        assert_eq!(fared[0], Err(Ending::Alert(AlertDescription::UnknownCA)));
        assert_eq!(fared[1], revoked);
        assert_eq!(target.accepts(), 0);
        let records = mounted.gate.records(2);
        let stale = |r: &Value| text(r, "reason").contains("stale since");
        assert!(records.iter().any(stale), "{records:?}");
        let warned = events(&mounted.gate, "configuration");
        assert!(
            warned.iter().any(|r| text(r, "message").contains("stale")),
            "{warned:#?}"
        );
    }
    let accept = "stale_crl = \"accept\"\n";
    let (_mounted, _target, fared) = with_lists(list.as_bytes(), &ca.pem, accept, &[&good, &bad]);
    assert_eq!(fared, [Ok(()), revoked]);
}

#[test]
fn the_newest_of_two_lists_of_one_ca_counts() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let mut old = list_params([good.number()]);
    old.this_update = (SystemTime::now() - Duration::from_secs(7_200)).into();
    let old = ca.list(&old).pem().expect("PEM");
    let new = ca.list(&list_params([bad.number()])).pem().expect("PEM");
    for both in [[&*old, &*new].concat(), [&*new, &*old].concat()] {
        let (_mounted, _target, fared) = with_lists(both.as_bytes(), &ca.pem, "", &[&good, &bad]);
        assert_eq!(fared[0], Ok(()));
        assert_eq!(
            fared[1],
            Err(Ending::Alert(AlertDescription::CertificateRevoked))
        );
    }
}

#[test]
fn a_list_that_runs_out_while_serving_refuses_from_then_on_until_there_is_a_newer_one() {
    let ca = Authority::root("clients");
    let good = ca.client("good");
    let mut params = list_params([]);
    params.next_update = (SystemTime::now() + Duration::from_secs(4)).into();
    let list = ca.list(&params).pem().expect("PEM");
    let (mut mounted, _target, fared) = with_lists(list.as_bytes(), &ca.pem, "", &[&good]);
    assert_eq!(fared, [Ok(())]);
    let client = mounted.client(&good);
    let address = mounted.gate.address();
    eventually("the list runs out", || {
        (!is_admitted(address, &client)).then_some(())
    });
    let list = ca.revoking(&[]);
    mounted.mount.update(&[("ca.crl", list.as_bytes())]);
    let changed = Instant::now();
    soon("a newer list", changed, || is_admitted(address, &client));
}

#[test]
fn a_list_of_two_hundred_thousand_delays_nobody() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let list = ca.revoking(&[]);
    let (mut mounted, _target, fared) = with_lists(list.as_bytes(), &ca.pem, "", &[&good, &bad]);
    assert_eq!(fared, [Ok(()), Ok(())]);
    let address = mounted.gate.address();
    let (good, revoked) = (mounted.client(&good), mounted.client(&bad));
    let many = (1..=200_000_u64).chain([bad.number()]);
    let list = ca.list(&list_params(many)).der().to_vec();
    let mut session = knock(address, &good).expect("it is admitted");
    let over = AtomicBool::new(false);
    let (old, new, took) = std::thread::scope(|scope| {
        let in_session = scope.spawn(|| longest(&over, || session.prove_admitted()));
        let anew = scope.spawn(|| {
            longest(&over, || {
                drop(knock(address, &good).expect("it is admitted"))
            })
        });
        mounted.mount.update(&[("ca.crl", &list)]);
        let changed = Instant::now();
        eventually("the list counts", || {
            is_refused(address, &revoked, AlertDescription::CertificateRevoked).then_some(())
        });
        over.store(true, Ordering::SeqCst);
        let longest = |thread: std::thread::ScopedJoinHandle<'_, Duration>| {
            thread.join().expect("nothing fails meanwhile")
        };
        (longest(in_session), longest(anew), changed.elapsed())
    });
    println!(
        "{} bytes took {took:?}; meanwhile a byte took {old:?} at most, a connection {new:?}",
        list.len()
    );
    assert!(
        old < Duration::from_secs(1) && new < Duration::from_secs(1),
        "{old:?}, {new:?}"
    );
    assert_eq!(mounted.gate.status()["client_crl"][0]["entries"], 200_001);
    assert_eq!(mounted.gate.reloads("failure"), 0);
}

/// The longest that something took, done again and again until it is over.
fn longest(over: &AtomicBool, mut act: impl FnMut()) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        act();
        longest = longest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    longest
}
