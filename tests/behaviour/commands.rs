//! The commands beside `serve`: the development PKI, the dry runs, the client, the probe and the demonstration.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::gate::{Setup, portcullis};
use crate::support::peers::{Done, Input, KillOnDrop, openssl, run, start};
use crate::support::pki::{Credentials, Pki, client_params, dns, pki, temporary_folder, write};
use crate::support::{eventually, target};

fn ran(command: &mut Command) -> Done {
    run(command, &Input::All(b""))
}

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = portcullis();
    command.arg(name).args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

mod pki_command {
    use super::*;

    #[test]
    fn what_it_issues_verifies_and_has_the_names_that_were_asked_for() {
        let folder = temporary_folder();
        let dir = text(folder.path());
        assert_eq!(ran(&mut pki(&["init", "--dir", dir])).code, 0);
        let server = [
            "issue",
            "server",
            "gate",
            "--dir",
            dir,
            "--dns",
            "gate.test",
            "--ip",
            "192.0.2.7",
        ];
        assert_eq!(ran(&mut pki(&server)).code, 0);
        let client = [
            "issue",
            "client",
            "scraper",
            "--dir",
            dir,
            "--dns",
            "scraper.test",
            "--uri",
            "spiffe://cluster.local/ns/a/sa/b",
            "--cn",
            "the scraper",
            "--ou",
            "Monitoring",
            "--days",
            "7",
        ];
        assert_eq!(ran(&mut pki(&client)).code, 0);
        let ca = folder.path().join("ca.crt");
        for (name, purpose) in [("gate", "sslserver"), ("scraper", "sslclient")] {
            let cert = folder.path().join(name).join("tls.crt");
            let verified = openssl(&[
                "verify",
                "-purpose",
                purpose,
                "-CAfile",
                text(&ca),
                text(&cert),
            ]);
            assert!(verified.contains("OK"), "{verified}");
            let own_ca =
                std::fs::read(folder.path().join(name).join("ca.crt")).expect("it is there");
            assert_eq!(own_ca, std::fs::read(&ca).expect("it is there"));
        }
        let show = |name: &str| {
            let cert = folder.path().join(name).join("tls.crt");
            openssl(&["x509", "-in", text(&cert), "-noout", "-text"])
        };
        let server = show("gate");
        for fact in [
            "DNS:gate.test",
            "IP Address:192.0.2.7",
            "TLS Web Server Authentication",
        ] {
            assert!(server.contains(fact), "{fact} in {server}");
        }
        let client = show("scraper");
        for fact in [
            "DNS:scraper.test",
            "URI:spiffe://cluster.local/ns/a/sa/b",
            "CN = the scraper",
            "OU = Monitoring",
            "TLS Web Client Authentication",
        ] {
            assert!(client.contains(fact), "{fact} in {client}");
        }
        assert!(
            !client.contains("TLS Web Server Authentication"),
            "{client}"
        );
        let cert = folder.path().join("scraper/tls.crt");
        let in_eight_days = ["x509", "-in", text(&cert), "-noout", "-checkend", "691200"];
        assert_eq!(
            ran(Command::new("openssl").args(in_eight_days)).code,
            1,
            "it lasts seven days"
        );
        let in_six_days = ["x509", "-in", text(&cert), "-noout", "-checkend", "518400"];
        assert_eq!(ran(Command::new("openssl").args(in_six_days)).code, 0);
    }

    #[test]
    fn keys_are_for_their_owner_only_and_never_shown() {
        let folder = temporary_folder();
        let dir = text(folder.path());
        let made = [
            ran(&mut pki(&["init", "--dir", dir])),
            ran(&mut pki(&[
                "issue", "client", "scraper", "--dir", dir, "--dns", "a.test",
            ])),
        ];
        for done in made {
            assert_eq!(done.code, 0, "{done:?}");
            assert!(!done.text().contains("PRIVATE KEY"), "{done:?}");
        }
        for key in ["ca.key", "scraper/tls.key"] {
            let metadata = std::fs::metadata(folder.path().join(key)).expect(key);
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn nothing_is_overwritten_without_force() {
        let folder = temporary_folder();
        let dir = text(folder.path());
        let init = ["init", "--dir", dir];
        let issue = [
            "issue", "client", "scraper", "--dir", dir, "--dns", "a.test",
        ];
        let bytes = |name: &str| std::fs::read(folder.path().join(name)).expect(name);
        for (arguments, file) in [(&init[..], "ca.key"), (&issue, "scraper/tls.key")] {
            assert_eq!(ran(&mut pki(arguments)).code, 0);
            let before = bytes(file);
            let again = ran(&mut pki(arguments));
            assert_eq!(again.code, 2, "{again:?}");
            assert!(again.stderr.contains("--force"), "what to do: {again:?}");
            assert_eq!(bytes(file), before);
            let forced = ran(pki(arguments).arg("--force"));
            assert_eq!(forced.code, 0, "{forced:?}");
            assert_ne!(bytes(file), before);
        }
    }

    #[test]
    fn what_it_revokes_is_revoked_for_openssl_and_stays_so() {
        let folder = temporary_folder();
        let dir = text(folder.path());
        assert_eq!(ran(&mut pki(&["init", "--dir", dir])).code, 0);
        let clients = ["issue", "client", "one", "two", "three", "--dir", dir];
        assert_eq!(ran(&mut pki(&clients)).code, 0);
        let (ca, list) = (folder.path().join("ca.crt"), folder.path().join("ca.crl"));
        let cert = |name: &str| folder.path().join(name).join("tls.crt");
        let revoked = |name: &str| {
            let cert = cert(name);
            let check = [
                "verify",
                "-crl_check",
                "-CAfile",
                text(&ca),
                "-CRLfile",
                text(&list),
                text(&cert),
            ];
            let done = ran(Command::new("openssl").args(check));
            assert_eq!(
                done.code != 0,
                done.stderr.contains("certificate revoked"),
                "{done:?}"
            );
            done.code != 0
        };
        assert_eq!(
            ran(&mut pki(&["revoke", text(&cert("one")), "--dir", dir])).code,
            0
        );
        assert_eq!(
            [revoked("one"), revoked("two"), revoked("three")],
            [true, false, false]
        );
        let two = cert("two");
        let serial = openssl(&["x509", "-in", text(&two), "-noout", "-serial"]);
        let serial = serial.trim().trim_start_matches("serial=");
        assert_eq!(ran(&mut pki(&["revoke", serial, "--dir", dir])).code, 0);
        assert_eq!(
            [revoked("one"), revoked("two"), revoked("three")],
            [true, true, false]
        );
        let nonsense = ran(&mut pki(&["revoke", "neither", "--dir", dir]));
        assert_eq!(nonsense.code, 2, "{nonsense:?}");
    }

    #[test]
    fn issuing_without_a_ca_says_what_to_do() {
        let folder = temporary_folder();
        let done = ran(&mut pki(&[
            "issue",
            "client",
            "scraper",
            "--dir",
            text(folder.path()),
        ]));
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains("pki init"), "{done:?}");
    }
}

mod check {
    use super::*;

    fn check(setup: &[(&str, &Path)], more: &[&str]) -> Done {
        let mut command = command("check", more);
        for (flag, value) in setup {
            command.arg(flag).arg(value);
        }
        ran(&mut command)
    }

    #[test]
    fn it_says_what_was_found_and_exits_0() {
        let pki = Pki::shared();
        let (server, ca) = (pki.server(), pki.ca());
        let done = check(
            &[
                ("--cert", &server.cert()),
                ("--key", &server.key()),
                ("--client-ca", &ca),
            ],
            &[
                "--allow-dns",
                "prometheus.test",
                "--listen",
                "127.0.0.1:9443",
                "--target",
                "127.0.0.1:9100",
            ],
        );
        assert_eq!(done.code, 0, "{done:?}");
        for fact in [
            "portcullis.internal",
            "dns:prometheus.test",
            "default",
            "127.0.0.1:9443",
            "127.0.0.1:9100",
            text(&ca),
        ] {
            assert!(done.stdout.contains(fact), "{fact} in {done:?}");
        }
        assert!(!done.text().contains("PRIVATE"), "{done:?}");
    }

    #[test]
    fn it_warns_of_traps() {
        let pki = Pki::shared();
        let folder = temporary_folder();
        let server = pki.server();
        let key = folder.path().join("tls.key");
        std::fs::copy(server.key(), &key).expect("a copy");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("a mode");
        let done = check(
            &[
                ("--cert", &server.cert()),
                ("--key", &key),
                ("--client-ca", &pki.ca()),
            ],
            &[
                "--allow-dns",
                "prometheus.test",
                "--listen",
                "127.0.0.1:54899",
            ],
        );
        assert_eq!(done.code, 0, "a warning is no refusal: {done:?}");
        let said = done.text();
        assert!(
            said.contains("ip_local_port_range"),
            "a port inside the ephemeral range: {said}"
        );
        assert!(
            said.contains(text(&key)),
            "a key that anybody can read: {said}"
        );
        assert!(
            said.contains("0600") || said.contains("chmod"),
            "what to do: {said}"
        );
    }

    #[test]
    fn it_refuses_what_serve_would_refuse() {
        let pki = Pki::shared();
        let (server, other) = (pki.server(), pki.client("other"));
        let done = check(
            &[
                ("--cert", &server.cert()),
                ("--key", &other.key()),
                ("--client-ca", &pki.ca()),
            ],
            &["--allow-dns", "prometheus.test"],
        );
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.text().contains(text(&other.key())), "{done:?}");
    }
}

mod explain {
    use super::*;

    fn explain(pki: &Pki, credentials: &Credentials, rules: &[&str]) -> Done {
        let server = pki.server();
        let mut command = command("explain", rules);
        command.arg("--client-cert").arg(credentials.cert());
        command
            .arg("--cert")
            .arg(server.cert())
            .arg("--key")
            .arg(server.key());
        ran(command.arg("--client-ca").arg(pki.ca()))
    }

    #[test]
    fn an_admitted_client_is_0_and_the_rule_is_named() {
        let pki = Pki::shared();
        let client = pki.client("prometheus");
        let done = explain(
            &pki,
            &client,
            &["--allow-cn", "x", "--allow-dns", "prometheus.test"],
        );
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.contains("dns:prometheus.test"), "{done:?}");
    }

    #[test]
    fn a_refused_client_is_3_and_the_reason_is_named() {
        let pki = Pki::shared();
        let client = pki.client("prometheus");
        let done = explain(&pki, &client, &["--allow-dns", "somebody.else"]);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(
            done.stdout.contains("prometheus.test"),
            "the names it does have: {done:?}"
        );
        assert!(
            done.stdout.contains("access_denied"),
            "what it would hear: {done:?}"
        );

        let mut expired = client_params([dns("prometheus.test")]);
        expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let done = explain(
            &pki,
            &pki.forge(&expired),
            &["--allow-dns", "prometheus.test"],
        );
        assert_eq!(done.code, 3, "{done:?}");
        assert!(done.stdout.contains("expired"), "{done:?}");

        let done = explain(&pki, &pki.server(), &["--allow-any-client"]);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(done.stdout.contains("clientAuth"), "{done:?}");
    }

    #[test]
    fn an_unusable_file_is_2() {
        let pki = Pki::shared();
        let folder = temporary_folder();
        write(&folder.path().join("tls.crt"), "not a certificate");
        let credentials = Credentials::at(folder.path().to_owned());
        let done = explain(&pki, &credentials, &["--allow-any-client"]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains("--client-cert"), "{done:?}");
        assert!(done.stderr.contains(text(&credentials.cert())), "{done:?}");
    }
}

mod scrape {
    use super::*;

    fn scrape(address: std::net::SocketAddr, credentials: &Credentials, more: &[&str]) -> Done {
        let mut command = command("scrape", &[&format!("https://{address}/metrics")]);
        command
            .arg("--cert")
            .arg(credentials.cert())
            .arg("--key")
            .arg(credentials.key());
        ran(command.arg("--ca").arg(credentials.ca()).args(more))
    }

    #[test]
    fn the_body_goes_to_standard_output() {
        let pki = Pki::shared();
        let target = target::exporter();
        let gate = Setup::open_to(&pki, &target).start();
        let client = pki.client("scrape");
        for more in [&[][..], &["--server-name", "portcullis.internal"]] {
            let done = scrape(gate.address(), &client, more);
            assert_eq!(
                (done.code, done.stdout.as_str()),
                (0, target::EXPOSITION),
                "{done:?}"
            );
        }
        let wrong = scrape(gate.address(), &client, &["--server-name", "else.test"]);
        assert_eq!(wrong.code, 1, "{wrong:?}");
        assert!(wrong.stderr.contains("else.test"), "{wrong:?}");
    }

    #[test]
    fn a_refusal_is_explained() {
        let pki = Pki::shared();
        let target = target::exporter();
        let gate = Setup::to(&pki, &target.flag())
            .flag("--allow-dns", "nobody.test")
            .start();
        let done = scrape(gate.address(), &pki.client("scrape"), &[]);
        assert_eq!(done.code, 1, "{done:?}");
        assert_eq!(done.stdout, "", "{done:?}");
        assert!(
            done.stderr.contains("access_denied"),
            "which alert: {done:?}"
        );
        assert!(
            done.stderr.contains("--allow-"),
            "what it usually means: {done:?}"
        );
        assert_eq!(target.accepts(), 0);
    }

    #[test]
    fn only_a_2xx_answer_is_success() {
        let pki = Pki::shared();
        let target = target::Target::serving(|socket, _| {
            use std::io::{Read, Write};
            let mut stream = &socket;
            drop(stream.read(&mut [0; 4096]));
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown";
            drop(stream.write_all(answer.as_bytes()));
            drop(target::read_to_end(&socket));
        });
        let gate = Setup::open_to(&pki, &target).start();
        let done = scrape(gate.address(), &pki.client("scrape"), &[]);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains("503"), "{done:?}");
    }

    #[test]
    fn an_unreachable_gate_is_named() {
        let pki = Pki::shared();
        let nobody = target::Nobody::new();
        let done = scrape(nobody.address(), &pki.client("scrape"), &[]);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(
            done.stderr.contains(&nobody.address().to_string()),
            "{done:?}"
        );
    }
}

mod probe {
    use super::*;

    #[test]
    fn it_says_whether_the_gate_is_live_and_ready() {
        let pki = Pki::shared();
        let target = target::echo();
        let gate = Setup::open_to(&pki, &target).start();
        for question in ["--live", "--ready"] {
            let done = ran(&mut command("probe", &[question, "--admin", gate.admin()]));
            assert_eq!(done.code, 0, "{question}: {done:?}");
        }
        let mut client = pki.client("probe").connect(gate.address());
        client.prove_admitted();
        gate.signal(rustix::process::Signal::TERM);
        eventually("the gate drains", || {
            (gate.get("/readyz").status == 503).then_some(())
        });
        let live = ran(&mut command("probe", &["--live", "--admin", gate.admin()]));
        assert_eq!(live.code, 0, "{live:?}");
        let ready = ran(&mut command("probe", &["--ready", "--admin", gate.admin()]));
        assert_eq!(ready.code, 1, "{ready:?}");
        assert!(ready.text().contains("draining"), "{ready:?}");
    }

    #[test]
    fn it_reaches_a_unix_socket_and_reads_the_variable() {
        let folder = temporary_folder();
        let admin = format!("unix:{}", folder.path().join("admin").display());
        let target = target::echo();
        let _gate = Setup::open_to(&Pki::shared(), &target)
            .flag("--admin", &admin)
            .start();
        let done = ran(command("probe", &["--live"]).env("PORTCULLIS_ADMIN", &admin));
        assert_eq!(done.code, 0, "{done:?}");
    }

    #[test]
    fn nobody_there_is_1() {
        let nobody = target::Nobody::new();
        let address = nobody.address().to_string();
        let done = ran(&mut command("probe", &["--live", "--admin", &address]));
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains(&address), "{done:?}");
    }
}

mod demo {
    use super::*;
    use rustix::process::Signal;

    #[test]
    fn once_shows_one_scrape_that_succeeds_and_one_that_is_refused() {
        let done = ran(&mut command("demo", &["--once"]));
        assert_eq!(done.code, 0, "{done:?}");
        let said = done.text();
        assert!(!said.contains("0.0.0.0"), "it stays on loopback: {said}");
        assert!(
            said.contains("certificate_required"),
            "the refusal has its reason: {said}"
        );
        for line in said.lines() {
            assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
        }
        assert!(!said.contains('\u{1b}'), "no colours into a pipe: {said:?}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }

    #[test]
    fn it_leaves_nothing_behind_in_the_folder_it_runs_in() {
        let folder = temporary_folder();
        let temporary = temporary_folder();
        let mut command = command("demo", &["--once"]);
        command
            .current_dir(folder.path())
            .env("TMPDIR", temporary.path());
        assert_eq!(ran(&mut command).code, 0);
        for folder in [&folder, &temporary] {
            assert_eq!(std::fs::read_dir(folder).expect("it is there").count(), 0);
        }
    }

    #[test]
    fn two_run_at_once_and_ctrl_c_ends_one_cleanly() {
        let temporary = temporary_folder();
        let (out, file) = {
            let path = temporary.path().join("out");
            let file = std::fs::File::create(&path).expect("a file");
            (path, file)
        };
        let keys = temporary_folder();
        let mut first = command("demo", &[]);
        first
            .stdout(file)
            .stderr(std::process::Stdio::null())
            .env("TMPDIR", keys.path());
        let mut running = KillOnDrop::of(start(&mut first));
        let line = eventually("a line to paste", || {
            let said = std::fs::read_to_string(&out).expect("it can be read");
            let start = said.find("\ncurl ")? + 1;
            let line = said[start..].replace("\\\n", " ");
            let line = line.lines().next()?.to_owned();
            line.contains("https://").then_some(line)
        });
        let pasted = ran(Command::new("sh").args(["-c", &line]));
        assert_eq!(pasted.code, 0, "{line}: {pasted:?}");
        let second = ran(&mut command("demo", &["--once"]));
        assert_eq!(second.code, 0, "{second:?}");
        running.signal(Signal::INT);
        assert_eq!(running.wait(), 0);
        assert_eq!(
            std::fs::read_dir(&keys).expect("it is there").count(),
            0,
            "keys are gone"
        );
    }
}
