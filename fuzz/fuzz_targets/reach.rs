//! URLs from customers: nothing panics, and no host that the guard lets through is an address that it would not connect to.

#![no_main]

use std::net::{IpAddr, ToSocketAddrs};

use libfuzzer_sys::fuzz_target;
use offhook::provider::reach::Reach;

fuzz_target!(|url: &str| {
    let public = Reach::public();
    let allowing = Reach::public_and(["127.0.0.0/8", "::1", "crm.internal"]).expect("they are hosts and networks");
    if public.check(url).is_ok() {
        allowing.check(url).expect("who is allowed more can reach as much");
        Reach::Any.check(url).expect("nothing reaches farther");
        let parsed = url::Url::parse(url).expect("what was checked is a URL");
        assert_eq!((parsed.scheme(), parsed.username(), parsed.password()), ("https", "", None));
        let host = parsed.host_str().expect("it has a host");
        // As a resolver that takes every notation would read it, without asking anybody.
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        let digits = literal.bytes().all(|byte| byte.is_ascii_hexdigit() || b".x:".contains(&byte));
        if digits && let Ok(addresses) = (literal, 443).to_socket_addrs() {
            addresses.for_each(|address| assert!(public.permits(host, address.ip()), "{url} is {address}"));
        }
        if let Ok(address) = literal.parse::<IpAddr>() {
            assert!(public.permits(host, address), "{url} is {address}");
        }
    }
    let _ = Reach::public_and([url]);
});
