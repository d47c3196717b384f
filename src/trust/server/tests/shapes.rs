//! Chains of every shape: what is sent of each, or why none of it is.

use super::*;

#[test]
fn every_shape_of_a_chain_is_sent_or_refused_as_it_deserves() {
    let Scene {
        root,
        other,
        upper,
        lower,
        leaf,
    } = Scene::new();
    let key_of = |ca: &Ca| ca.0.key().serialize_pem();
    let (root_pem, other, upper_pem, lower_pem) =
        (root.pem(), other.pem(), upper.pem(), lower.pem());
    let twin = cross(ca_params("lower"), &key_of(&lower), &Ca::new("second root"));
    let twin_of_upper = cross(ca_params("upper"), &key_of(&upper), &Ca::new("second root"));
    let namesake = upper.below(ca_params("lower")).pem();
    // Each certifies the other, as two roots that were bridged do.
    let bridged = cross(ca_params("root"), &key_of(&root), &upper);
    let own = self_signed();
    let (l, u, r, o) = (&*lower_pem, &*upper_pem, &*root_pem, &*other);
    let c = &*leaf.cert;
    // The file; what is sent of it, in this order; parts of the warnings, one each.
    let good: &[(&[&str], &[&str], &[&str])] = &[
        (&[c], &[c], &[]),
        (&[c, l], &[c, l], &[]),
        (&[c, l, u], &[c, l, u], &[]),
        (&[c, l, u, r], &[c, l, u, r], &[]),
        (
            &[c, l, l],
            &[c, l],
            &["certificate 3 is certificate 2 once more"],
        ),
        (
            &[c, c, l],
            &[c, l],
            &["certificate 2 is certificate 1 once more"],
        ),
        (
            &[c, u, l],
            &[c, u, l],
            &[
                "certificate 2 (\"CN=upper\") stands before certificate 3 (\"CN=lower\"), which it issued",
            ],
        ),
        (
            &[c, r, u, l],
            &[c, r, u, l],
            &[
                "certificate 3 (\"CN=upper\") stands",
                "certificate 2 (\"CN=root\") stands",
            ],
        ),
        (
            &[c, l, &twin],
            &[c, l, &twin],
            &["certificate 2 (\"CN=lower\") and certificate 3 both issued certificate 1"],
        ),
        (
            &[c, l, &twin, u],
            &[c, l, &twin, u],
            &["and certificate 3 both issued certificate 1"],
        ),
        (
            &[c, l, u, &twin_of_upper],
            &[c, l, u, &twin_of_upper],
            &["and certificate 4 both issued certificate 2"],
        ),
        (
            &[c, l, o],
            &[c, l],
            &[
                "it ends at certificate 2, issued by \"CN=upper\"): certificate 3 (\"CN=other\"); take out",
            ],
        ),
        (
            &[c, o, l],
            &[c, l],
            &["certificate 2 (\"CN=other\"); take out"],
        ),
        // The one between is missing.
        (
            &[c, l, r],
            &[c, l],
            &["certificate 3 (\"CN=root\"); take out what is not needed, or add"],
        ),
        // A CA was made again: of two of one name, one signed.
        (
            &[c, l, &namesake],
            &[c, l],
            &["certificate 3 (\"CN=lower\"); take out"],
        ),
        (
            &[c, &namesake, l],
            &[c, l],
            &["certificate 2 (\"CN=lower\"); take out"],
        ),
        (
            &[c, l, u, &bridged],
            &[c, l, u, &bridged],
            &["certificate 3 (\"CN=upper\") stands before certificate 4 (\"CN=root\")"],
        ),
        (
            &[&own.cert, o],
            &[&own.cert],
            &["certificate 2 (\"CN=other\")"],
        ),
    ];
    for (file, sent, said) in good {
        let key = if file[0] == own.cert {
            &own.key
        } else {
            &leaf.key
        };
        let server = judge(file, key).unwrap();
        let ders: Vec<_> = sent.iter().map(|pem| der(pem)).collect();
        assert_eq!(server.certified.cert, ders, "{said:?}");
        assert_eq!(
            (server.shown.sent, server.shown.held),
            (sent.len(), file.len())
        );
        let warnings = warnings(&server);
        assert_eq!(warnings.len(), said.len(), "{said:?} in {warnings:#?}");
        for (warning, part) in warnings.iter().zip(*said) {
            assert!(warning.contains(part), "{part:?} in {warning}");
            assert!(warning.starts_with("--file: \"crt\": "), "{warning}");
        }
    }
    let differently = {
        let mut params = ca_params("x");
        let name = DnValue::PrintableString("lower".try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        cross(params, &key_of(&lower), &root)
    };
    let bad: &[(&[&str], &str)] = &[
        (
            &[c, o],
            "certificate 1 is issued by \"CN=lower\", and none of the other certificates is that CA's",
        ),
        // What comes next is there, the issuer itself is not.
        (
            &[c, u, r],
            "certificate 1 is issued by \"CN=lower\", and none of the other",
        ),
        (
            &[c, &namesake],
            "certificate 2 (\"CN=lower\") has the name of certificate 1's issuer and another key",
        ),
        (
            &[c, &differently],
            "certificate 2 (\"CN=lower\") signed certificate 1, but writes its name in other bytes",
        ),
        (
            &[l, c],
            "the key belongs to certificate 2, not to the first",
        ),
        (&[l, u], "the key does not belong to the first certificate"),
    ];
    for (file, why) in bad {
        let problem = judge(file, &leaf.key).map(|_| ()).unwrap_err();
        assert!(problem.contains(why), "{why:?} in {problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}

#[test]
fn many_that_do_not_belong_there_are_told_in_one_sentence() {
    let Scene { lower, leaf, .. } = Scene::new();
    let strays: Vec<String> = (0..30)
        .map(|n| Ca::new(&format!("stray {n}")).pem())
        .collect();
    let lower = lower.pem();
    let mut file = vec![&*leaf.cert, &*lower];
    file.extend(strays.iter().map(String::as_str));
    warned(
        &file,
        &leaf.key,
        &["certificate 6 (\"CN=stray 3\"), 26 more; take out"],
    );
}
