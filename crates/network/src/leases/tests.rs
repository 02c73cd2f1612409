//! Addresses: going round, kept over a restart, never given twice.

use super::*;

fn ranges(text: &[&str]) -> Vec<IpNet> {
    text.iter().map(|range| range.parse().unwrap()).collect()
}

fn acquire(leases: &mut Leases, sandbox: &str) -> String {
    let lease = leases.acquire(sandbox, &[]).unwrap();
    lease.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_address_just_released_is_the_last_to_be_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut leases = Leases::load(directory.path(), ranges(&["10.42.3.0/29"])).unwrap();
    assert_eq!(acquire(&mut leases, "a"), "10.42.3.2");
    leases.release("a").unwrap();
    for (sandbox, wanted) in
        [("b", "10.42.3.3"), ("c", "10.42.3.4"), ("d", "10.42.3.5"), ("e", "10.42.3.6"), ("f", "10.42.3.2")]
    {
        assert_eq!(acquire(&mut leases, sandbox), wanted);
    }
    let error = leases.acquire("g", &[]).unwrap_err();
    assert_eq!(error.to_string(), "no free address in 10.42.3.0/29");
    leases.release("d").unwrap();
    assert_eq!(acquire(&mut leases, "g"), "10.42.3.5");
}

#[test]
fn leases_and_the_order_survive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let both = ranges(&["10.42.0.0/24", "fd00:42::/64"]);
    let mut leases = Leases::load(directory.path(), both.clone()).unwrap();
    assert_eq!(acquire(&mut leases, "a"), "10.42.0.2 fd00:42::2");
    assert_eq!(acquire(&mut leases, "b"), "10.42.0.3 fd00:42::3");
    leases.release("b").unwrap();
    // The process died while it wrote.
    fs::write(directory.path().join("c.new"), b"{\"sand").unwrap();

    let mut leases = Leases::load(directory.path(), both).unwrap();
    assert_eq!(acquire(&mut leases, "a"), "10.42.0.2 fd00:42::2");
    assert_eq!(acquire(&mut leases, "c"), "10.42.0.4 fd00:42::4");
}

#[test]
fn a_sandbox_id_is_never_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let mut leases = Leases::load(directory.path(), ranges(&["10.42.0.0/24"])).unwrap();
    for name in ["", "../a", "a/b", ".hidden", "a\0b"] {
        assert!(matches!(leases.acquire(name, &[]), Err(LeaseError::Name(_))), "{name:?}");
    }
}
