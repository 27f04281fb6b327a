//! How far a request may reach whose URL comes from a customer.
//!
//! A URL is looked at twice: as it is written, by [`Reach::check`], when it is given and before each request; and by its
//! addresses, by [`Reach::permits`], when a connection is made. Only the second look cannot be deceived by a name that
//! resolves to something else later, and only the first can say to whoever gave the URL what is wrong with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use url::{Host, Url};

use crate::error::{Error, ErrorKind, Result};

/// Longest URL of a customer, in bytes.
pub const URL_BYTES_MAX: usize = 8_192;

/// Ports below this belong to other services than HTTP, but for its own.
const PORT_MIN: u16 = 1_024;
const HTTP_PORTS: [u16; 2] = [80, 443];

/// Names that mean this machine, its network or its cloud, with everything below them.
const INNER_NAMES: [&str; 9] =
    ["corp", "home", "home.arpa", "internal", "intranet", "lan", "local", "localdomain", "localhost"];

/// Where a request may go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// Anywhere: for URLs of our own configuration.
    #[default]
    Any,
    /// To public addresses by `https`, and to what is allowed besides by either scheme and on any port.
    Public(Arc<Allowed>),
}

/// Hosts and networks that may be reached although they are not public.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Allowed {
    hosts: BTreeSet<String>,
    networks: Networks,
}

/// Networks of addresses.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Networks(Vec<Network>);

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Reach {
    /// To public addresses alone.
    pub fn public() -> Self {
        Self::Public(Arc::default())
    }

    /// To public addresses and to `allowed`: host names, addresses, and networks such as `10.0.0.0/8`.
    ///
    /// `ConfigInvalid` for what is none of them.
    pub fn public_and<'a>(allowed: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut found = Allowed::default();
        for text in allowed {
            match Network::parse(text) {
                Some(network) => found.networks.add(network),
                None => drop(found.hosts.insert(parse_host(text)?)),
            }
        }
        Ok(Self::Public(Arc::new(found)))
    }

    /// What can be said of a URL without asking for its addresses. `ConfigInvalid` for one that is not `http` or `https`, is
    /// too long, has a user's name or password in it, a port of another service, or a host that is not public.
    pub fn check(&self, url: &str) -> Result<()> {
        let refused = |message: &'static str| Error::new(ErrorKind::ConfigInvalid, "reach.check", message);
        // A parser drops some of these; what is sent must be what was looked at.
        if url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(refused("the URL has characters in it that no URL has"));
        }
        if url.len() > URL_BYTES_MAX {
            return Err(refused("the URL is too long"));
        }
        let url = Url::parse(url).map_err(|error| refused("the URL is not absolute").with_source(error))?;
        let host = url.host().filter(|_| matches!(url.scheme(), "http" | "https"));
        let Some(host) = host else { return Err(refused("the URL is not http or https")) };
        let Self::Public(allowed) = self else { return Ok(()) };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("the URL has a user's name or a password in it"));
        }
        if allowed.has(&host) {
            return Ok(());
        }
        if url.scheme() != "https" {
            return Err(refused("the URL is not https"));
        }
        if url.port().is_some_and(|port| port < PORT_MIN && !HTTP_PORTS.contains(&port)) {
            return Err(refused("the URL has a port that is not for HTTP"));
        }
        let is_public = match host {
            Host::Domain(name) => is_public_name(name),
            Host::Ipv4(address) => is_public(address.into()),
            Host::Ipv6(address) => is_public(address.into()),
        };
        if is_public { Ok(()) } else { Err(refused("the URL's host is not public")) }
    }

    /// Whether a connection may be made to `address`, which `host` has resolved to or is.
    pub fn permits(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Public(allowed) => {
                is_public(address) || allowed.has_address(address) || allowed.hosts.contains(&normal_name(host))
            }
        }
    }
}

impl Allowed {
    fn has(&self, host: &Host<&str>) -> bool {
        match host {
            Host::Domain(name) => self.hosts.contains(&normal_name(name)),
            Host::Ipv4(address) => self.has_address((*address).into()),
            Host::Ipv6(address) => self.has_address((*address).into()),
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.networks.has(address)
    }
}

impl Networks {
    /// Addresses, and networks such as `10.0.0.0/8`. `ConfigInvalid` for what is neither.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut networks = Self::default();
        for text in texts {
            let unknown =
                || Error::new(ErrorKind::ConfigInvalid, "reach.parse", "that is no network").with_context("text", text);
            networks.add(Network::parse(text).ok_or_else(unknown)?);
        }
        Ok(networks)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` is in one of them. An IPv4 address counts as itself however it is written.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.has(address.to_canonical()))
    }

    /// Keeps them in order, each once.
    fn add(&mut self, network: Network) {
        if let Err(place) = self.0.binary_search(&network) {
            self.0.insert(place, network);
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Some(bits_max), |bits| bits.parse().ok())?;
        (prefix_bits <= bits_max).then_some(Self { address, prefix_bits })
    }

    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_bits: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_bits }
    }

    const fn v6(a: u16, b: u16, prefix_bits: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix_bits }
    }

    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix_bits.into()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix_bits.into()
            }
            _ => false,
        }
    }
}

/// IPv4 that is not public, by IANA's registry of special-purpose addresses; multicast, and what is kept for later.
const SPECIAL_V4: [Network; 16] = [
    Network::v4(0, 0, 0, 0, 8),
    Network::v4(10, 0, 0, 0, 8),
    Network::v4(100, 64, 0, 0, 10),
    Network::v4(127, 0, 0, 0, 8),
    // The metadata of an Azure machine, although its address is a public one.
    Network::v4(168, 63, 129, 16, 32),
    // With the metadata of most clouds.
    Network::v4(169, 254, 0, 0, 16),
    Network::v4(172, 16, 0, 0, 12),
    Network::v4(192, 0, 0, 0, 24),
    Network::v4(192, 0, 2, 0, 24),
    Network::v4(192, 88, 99, 0, 24),
    Network::v4(192, 168, 0, 0, 16),
    Network::v4(198, 18, 0, 0, 15),
    Network::v4(198, 51, 100, 0, 24),
    Network::v4(203, 0, 113, 0, 24),
    Network::v4(224, 0, 0, 0, 4),
    Network::v4(240, 0, 0, 0, 4),
];

/// The IPv6 that is given to networks of the world. Everything beside it is special: this machine, this link, private
/// networks, multicast, IPv4 in its mapped, compatible and NAT64 forms.
const GLOBAL_V6: Network = Network::v6(0x2000, 0, 3);

/// What is special inside of [`GLOBAL_V6`]: protocols, with Teredo, ORCHID and benchmarks; documentation; 6to4.
const SPECIAL_V6: [Network; 4] = [
    Network::v6(0x2001, 0, 23),
    Network::v6(0x2001, 0x0db8, 32),
    Network::v6(0x2002, 0, 16),
    Network::v6(0x3fff, 0, 20),
];

/// Whether anybody on the Internet may have this address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|network| network.has(address)),
        IpAddr::V6(_) => GLOBAL_V6.has(address) && !SPECIAL_V6.iter().any(|network| network.has(address)),
    }
}

/// Whether a name may mean something public. One without a dot is looked up in the local network.
fn is_public_name(name: &str) -> bool {
    let name = normal_name(name);
    let is_in = |inner: &str| name.strip_suffix(inner).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    name.contains('.') && !INNER_NAMES.into_iter().any(is_in)
}

/// In lower case, and without the dot at its end that makes it absolute.
fn normal_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn parse_host(text: &str) -> Result<String> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) => Ok(normal_name(&name)),
        _ => Err(Error::new(ErrorKind::ConfigInvalid, "reach.parse", "not a host name, an address or a network")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn public_urls_pass() {
        for url in [
            "https://customer.example/hooks?a=b#c",
            "https://customer.example:8443/",
            "https://customer.example:443/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://bücher.example/",
            "https://internal.customer.example/",
        ] {
            Reach::public().check(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }

    /// DR-076, and each of them in a way in which a guard was once deceived.
    #[test]
    fn urls_that_reach_inside_are_refused() {
        for url in [
            "",
            "/relative",
            "customer.example",
            "ftp://customer.example/",
            "file:///etc/passwd",
            "gopher://1.1.1.1/",
            "javascript:alert(1)",
            "http://customer.example/",
            "https://",
            "https://user@customer.example/",
            "https://user:s3cret@customer.example/",
            "https://customer.example:22/",
            "https://customer.example:25/",
            "https://customer.example:0/",
            "https://localhost/",
            "https://LOCALHOST/",
            "https://localhost./",
            "https://a.localhost/",
            "https://printer/",
            "https://printer.local/",
            "https://metadata.google.internal/",
            "https://metadata.google.internal./",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://017700000001/",
            "https://0/",
            "https://127.0.0.1./",
            "https://①②⑦.⓪.⓪.①/",
            "https://127。0。0。1/",
            "https://%31%32%37.0.0.1/",
            "https://10.1.2.3/",
            "https://172.31.255.255/",
            "https://192.168.1.1/",
            "https://169.254.169.254/",
            "https://168.63.129.16/",
            "https://100.100.100.200/",
            "https://192.0.0.192/",
            "https://192.0.2.1/",
            "https://198.19.0.1/",
            "https://203.0.113.9/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://240.0.0.1/",
            "https://192.88.99.1/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:8.8.8.8]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[64:ff9b:1::1]/",
            "https://[2002:7f00:1::]/",
            "https://[2001::1]/",
            "https://[2001:db8::1]/",
            "https://[2001:2::1]/",
            "https://[3fff::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
            "https://[100::1]/",
            "https://[5f00::1]/",
            "https://customer.example\\@127.0.0.1/",
            "https://customer.example\t/",
            " https://customer.example/",
            "https://cust\nomer.example/",
        ] {
            let error = Reach::public().check(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{url}");
            assert!(!error.to_string().contains("127") && !error.to_string().contains("s3cret"), "{error}");
        }
        assert!(Reach::public().check(&format!("https://a.example/{}", "a".repeat(URL_BYTES_MAX))).is_err());
    }

    #[test]
    fn what_is_allowed_passes_in_any_way_it_is_written() {
        let reach = Reach::public_and(["127.0.0.0/8", "fd00::/8", "crm.internal", "10.1.2.3"]).unwrap();
        for url in [
            "http://127.0.0.1:1/",
            "http://127.1/",
            "https://[::ffff:127.0.0.1]/",
            "http://[fd12::1]/",
            "http://crm.internal:99/",
            "http://CRM.internal./",
            "https://10.1.2.3/",
            "https://customer.example/",
        ] {
            reach.check(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        for url in ["http://10.1.2.4/", "http://sub.crm.internal/", "http://[fe80::1]/", "http://user@127.0.0.1/"] {
            assert!(reach.check(url).is_err(), "{url}");
        }
        assert!(reach.permits("crm.internal", [10, 9, 9, 9].into()), "a host that is allowed may be anywhere");
        assert!(!reach.permits("other.example", [10, 9, 9, 9].into()));
        for nonsense in ["", "10.0.0.0/33", "a b", "::/129", "10.0.0.0/-1"] {
            assert!(Reach::public_and([nonsense]).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_url_of_our_own_goes_anywhere_by_http() {
        Reach::Any.check("http://user:pass@localhost:11434/v1").unwrap();
        assert!(Reach::Any.check("ftp://localhost/").is_err());
        assert!(Reach::Any.permits("localhost", [127, 0, 0, 1].into()));
    }

    proptest! {
        #[test]
        fn no_address_of_this_machine_or_its_networks_is_public(bits: u32, choice in 0..5_usize) {
            let (network, free_bits) = [(0x7f00_0000_u32, 24), (0x0a00_0000, 24), (0xa9fe_0000, 16), (0xc0a8_0000, 16), (0xac10_0000, 20)][choice];
            let address = Ipv4Addr::from_bits(network | (bits & ((1 << free_bits) - 1)));
            let reach = Reach::public();
            prop_assert!(!reach.permits("customer.example", address.into()));
            prop_assert!(!reach.permits("customer.example", address.to_ipv6_mapped().into()));
            prop_assert!(!reach.permits("customer.example", address.to_ipv6_compatible().into()));
            let decimal = format!("https://{}/", address.to_bits());
            prop_assert!(reach.check(&decimal).is_err());
        }

        /// A literal that the first look lets through is one that the second lets through.
        #[test]
        fn both_looks_agree_on_addresses(v4: u32, v6: u128) {
            let reach = Reach::public();
            for address in [IpAddr::from(Ipv4Addr::from_bits(v4)), Ipv6Addr::from_bits(v6).into()] {
                let url = if address.is_ipv6() { format!("https://[{address}]/") } else { format!("https://{address}/") };
                prop_assert_eq!(reach.check(&url).is_ok(), reach.permits(&address.to_string(), address));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Reach::public().check(&text);
        }
    }
}
