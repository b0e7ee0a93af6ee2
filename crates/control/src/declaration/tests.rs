//! What declarations say, and what is said of those that are wrong.

use super::*;
use crate::keys::tests::{ED25519, OTHER};
use loggia_model::resource::{Depth, UpstreamTls};
use proptest::prelude::*;

const KEY: &str = crate::tests::PUBLIC_KEY;

fn parse(files: &[(&str, &str)]) -> Result<Declaration, DeclarationErrors> {
    let files: Vec<DeclaredFile> = files
        .iter()
        .map(|(name, text)| DeclaredFile { name: (*name).into(), text: (*text).into() })
        .collect();
    Declaration::parse(&files, &["postgres", "ssh"])
}

/// What is said of one TOML file.
fn said(text: &str) -> String {
    match parse(&[("a.toml", text)]) {
        Ok(declaration) => panic!("this is taken: {declaration:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// A resource with these lines in place of, or beside, the usual ones.
fn resource(lines: &str) -> String {
    let mut text = "[[resource]]\n".to_owned();
    for usual in ["name = \"shop\"", "protocol = \"postgres\"", "address = \"db:5432\""] {
        let key = usual.split(' ').next().unwrap();
        if !lines.lines().any(|line| line.starts_with(&format!("{key} "))) {
            text.push_str(&format!("{usual}\n"));
        }
    }
    format!("{text}{lines}\n[[resource.account]]\nname = \"app\"\n")
}

#[test]
fn everything_that_can_be_declared_is_read() {
    let text = r#"
        prune = true
        [[resource]]
        name = "shop"
        protocol = "postgres"
        address = "[fd00::1]:6432"
        tls = "verify-full"
        ca_file = "/etc/loggia/shop-ca.pem"
        database = "orders"
        depth = "kernel"
        labels = { team = "web", env = "prod" }
        account = [{ name = "app", password = "file:/run/secrets/shop" }, { name = "readonly" }]
        [[group]]
        name = "staff"
        members = ["alice", "ci"]
        [[person]]
        name = "alice"
        admin = true
        groups = ["staff"]
        [[service]]
        name = "ci"
        public_key_file = "keys/ci.pem"
    "#;
    let declaration =
        parse(&[("a.toml", text), ("./keys/ci.pem", KEY), ("p.cedar", "// none")]).unwrap();
    assert!(declaration.prune);
    let shop = declaration.resources().next().unwrap();
    assert_eq!((shop.host.as_str(), shop.port), ("fd00::1", 6432));
    assert_eq!((shop.tls, shop.depth), (UpstreamTls::VerifyFull, Depth::Kernel));
    assert_eq!(shop.database.as_deref(), Some("orders"));
    assert_eq!(shop.labels[0], ("env".to_owned(), "prod".to_owned()));
    let accounts: Vec<_> = shop.accounts.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(accounts, ["app", "readonly"]);
    assert!(declaration.people[0].admin);
    assert_eq!(declaration.services[0].public_key, KEY);
    assert_eq!(declaration.policies().collect::<Vec<_>>(), [("p.cedar", "// none")]);

    let short = parse(&[("a.toml", &resource(""))]).unwrap();
    let shop = short.resources().next().unwrap();
    assert_eq!((shop.tls, shop.depth), (UpstreamTls::VerifyFull, Depth::Disk));
    assert!(!short.prune);
    assert_ne!(short.digest(), declaration.digest());
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_nearest_key() {
    for (text, expected) in [
        ("prun = true", "a.toml:1:1: a declaration has no key `prun` (did you mean `prune`?)"),
        (
            "[[resources]]",
            "a.toml:1:3: a declaration has no key `resources` (did you mean `resource`?)",
        ),
        ("[resource]\nname = \"x\"", "[[resource]]"),
        ("prune = \"yes\"", "a.toml:1:9: `prune` is true or false, not a value of type string"),
        (
            &resource("adress = \"db:1\""),
            "a.toml:5:1: a resource has no key `adress` (did you mean `address`?)",
        ),
        (&resource("colour = \"red\""), "known are name, protocol, address"),
        (
            &resource("protocol = \"postgre\""),
            "a.toml:4:12: `protocol` cannot be this (did you mean \"postgres\"?)",
        ),
        (&resource("tls = \"verify\""), "one of \"verify-full\", \"unverified\", \"off\""),
        (&resource("tls = \"of\""), "did you mean \"off\"?"),
        (&resource("depth = 3"), "`depth` is a text in quotes, not a value of type integer"),
        (&resource("tls = \"off\"\nca_file = \"x\""), "`ca_file` has no meaning"),
        (&resource("name = \"Shop\""), "a.toml:4:8: this cannot be a name"),
        (&resource("labels = [\"a\"]"), "`labels` is a table"),
        (&resource("labels = { Env = \"prod\" }"), "this cannot be a name"),
        (&resource("labels = { env = 1 }"), "a table of texts"),
        ("[[resource]]\nname = \"shop\"", "a.toml:1:1: a resource needs `address`"),
        ("[[resource]]\nname = \"shop\"", "a.toml:1:1: a resource needs `protocol`"),
        ("[[resource]]\nname = \"shop\"", "a.toml:2:8: a resource needs an account"),
        (
            "[[group]]\nname = \"a\"\n[[group]]\nname = \"a\"",
            "a.toml:4:8: the group `a` stands twice",
        ),
        ("[[group]]\nname = \"a\"\nmembers = [\"b\", \"b\"]", "a.toml:3:17: `b` stands twice"),
        ("[[group]]\nname = \"a\"\nmembers = \"b\"", "an array of names"),
        ("[[person]]\nadmin = true", "a.toml:1:1: a person needs `name`"),
        ("[[service]]\nname = \"ci\"", "a service needs `public_key`"),
        (
            "[[service]]\nname = \"ci\"\npublic_key = \"x\"",
            "a.toml:3:14: the public key is not PEM",
        ),
        ("[[service]]\nname = \"ci\"\npublic_key_file = \"x.pem\"", "did not come with"),
        ("a = ", "a.toml:1:"),
    ] {
        let said = said(text);
        assert!(said.contains(expected), "`{expected}` is missing in:\n{said}\nfor:\n{text}");
    }
}

/// An SSH resource with these lines beside the usual ones, and this account.
fn host(lines: &str, account: &str) -> String {
    format!(
        "[[resource]]\nname = \"web-1\"\nprotocol = \"ssh\"\naddress = \"web-1.internal\"\n{lines}\n\
         [[resource.account]]\nname = \"deploy\"\n{account}\n"
    )
}

#[test]
fn a_host_is_declared_with_its_keys_and_one_way_in_for_each_account() {
    let keys = format!("host_keys = [\"{ED25519} root@web-1\", \"@cert-authority {OTHER}\"]");
    let mut text = host(&keys, "certificate = true");
    text.push_str("[[resource.account]]\nname = \"root\"\nkey = \"file:secrets/root\"\n");
    text.push_str("[[resource.account]]\nname = \"old\"\npassword = \"env:OLD\"\n");
    let declaration = parse(&[("a.toml", &text)]).unwrap();
    let web = declaration.resources().next().unwrap();
    assert_eq!((web.host.as_str(), web.port), ("web-1.internal", 22));
    assert_eq!(web.host_keys, [ED25519.to_owned(), format!("@cert-authority {OTHER}")]);
    let ways: Vec<_> = web
        .accounts
        .iter()
        .map(|it| (it.certificate, it.key.is_some(), it.password.is_some()))
        .collect();
    assert_eq!(ways, [(true, false, false), (false, true, false), (false, false, true)]);
    for (address, port) in
        [("web:2222", 2222), ("[::1]", 22), ("[::1]:2222", 2222), ("10.0.0.1", 22)]
    {
        let text = text.replace("\"web-1.internal\"", &format!("\"{address}\""));
        let declaration = parse(&[("a.toml", &text)]).unwrap();
        assert_eq!(declaration.resources().next().unwrap().port, port, "{address}");
    }
    for bad in ["::1", "[::1", "web:", "web:x", "root@web", ""] {
        let text = text.replace("\"web-1.internal\"", &format!("\"{bad}\""));
        assert!(parse(&[("a.toml", &text)]).is_err(), "{bad}");
    }
}

#[test]
fn a_host_without_a_key_or_with_what_is_not_for_ssh_is_refused() {
    let keys = format!("host_keys = [\"{ED25519}\"]");
    let with = |lines: &str| host(&format!("{keys}\n{lines}"), "certificate = true");
    for (text, expected) in [
        (host("", "certificate = true"), "a.toml:2:8: an ssh resource needs `host_keys`"),
        (host("", "certificate = true"), "ssh-keyscan"),
        (host("host_keys = []", "certificate = true"), "a.toml:5:13: an ssh resource needs"),
        (host("host_keys = \"unverified\"", "certificate = true"), "an array of texts"),
        (
            host("host_keys = [\"unverified\"]", "certificate = true"),
            "a.toml:5:14: this is no host key",
        ),
        (
            host(&format!("host_keys = [\"{ED25519}\", \"{ED25519} x\"]"), "certificate = true"),
            "stands twice",
        ),
        (with("tls = \"off\""), "a.toml:6:7: `tls` has no meaning for this protocol"),
        (with("ca_file = \"x\""), "`ca_file` has no meaning for this protocol"),
        (with("database = \"x\""), "`database` has no meaning for this protocol"),
        (host(&keys, ""), "a.toml:7:8: an account over SSH needs a way to sign in"),
        (host(&keys, "certificate = false"), "needs a way to sign in"),
        (host(&keys, "certificate = true\nkey = \"env:K\""), "this has several"),
        (host(&keys, "password = \"env:P\"\nkey = \"env:K\""), "this has several"),
        (host(&keys, "certificate = \"yes\""), "`certificate` is true or false"),
        (host(&keys, "key = \"-----BEGIN\""), "this is no reference to a secret"),
    ] {
        let said = said(&text);
        assert!(said.contains(expected), "`{expected}` is missing in:\n{said}\nfor:\n{text}");
    }
    for line in ["key = \"env:K\"", "certificate = true"] {
        let said = said(&format!("{}{line}\n", resource("")));
        assert!(said.contains("has no meaning for this protocol"), "{said}");
    }
    let said = said(&resource(&keys));
    assert!(said.contains("`host_keys` has no meaning for this protocol"), "{said}");
}

#[test]
fn people_and_service_accounts_share_their_names() {
    let text = format!(
        "[[person]]\nname = \"ci\"\n[[service]]\nname = \"ci\"\npublic_key = \"\"\"\n{KEY}\"\"\"\n"
    );
    assert!(said(&text).contains("a.toml:4:8: the person or service `ci` stands twice"));
}

#[test]
fn addresses_are_a_host_and_a_port_and_nothing_else() {
    for bad in [
        "db",
        "db:",
        ":5432",
        "db:0",
        "db:65536",
        "db:+1",
        "::1:5432",
        "[::1]",
        "[db]:1",
        "db:5432/x",
        "postgres://db:5432",
        "u:hunter2@db:5432",
        "a b:1",
    ] {
        let said = said(&resource(&format!("address = \"{bad}\"")));
        assert!(said.contains("this is no address"), "{bad}: {said}");
        assert!(!said.contains("hunter2"));
    }
}

#[test]
fn a_secret_in_clear_is_refused_and_repeated_nowhere() {
    let account = "[[resource]]\nname = \"shop\"\nprotocol = \"postgres\"\naddress = \"db:1\"\n\
                   [[resource.account]]\nname = \"app\"\n";
    let clear = said(&format!("{account}password = \"hunter2\""));
    assert!(clear.contains("a.toml:7:12: this is no reference to a secret"), "{clear}");
    // Nor when the TOML itself is broken on that line.
    let broken = said(&format!("{account}password = \"hunter2"));
    let unquoted = said(&format!("{account}password = hunter2"));
    for said in [clear, broken, unquoted] {
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn files_have_names_of_their_own_known_endings_and_a_bounded_size() {
    for (files, expected) in [
        (vec![("a.toml", ""), ("a.toml", "")], "two files have this name"),
        (vec![("a.yaml", "")], "made of .toml, .cedar and .pem"),
        (vec![("a b.toml", "")], "cannot be the name of a file"),
    ] {
        assert!(parse(&files).unwrap_err().to_string().contains(expected), "{files:?}");
    }
    let large = "#".repeat(TEXT_BYTES_MAX + 1);
    assert!(parse(&[("a.toml", &large)]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(
        before in "\\PC{0,40}",
        key in "(name|address|protocol|labels|account|tls|password)",
        value in "[\\[\\]{}\"'a-z0-9:=., \n]{0,40}",
    ) {
        let _ = parse(&[("a.toml", &format!("{before}\n[[resource]]\n{key} = {value}"))]);
        let _ = parse(&[("a.toml", &format!("[[resource]]\n{key} = {value}\n[[resource.account]]\n{key} = {value}"))]);
    }
}
