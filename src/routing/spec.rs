//! What a route asks of a request, as the configuration hands it over.

/// A route by its place in the list of routes as written, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

/// Which hosts a route answers for; names have no port and are compared without regard to letter case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Every host, an absent or unusable one too.
    Any,
    /// One name.
    Exact(String),
    /// Every name below a suffix such as `.example.com`, at any depth, but not `example.com` itself.
    Wildcard(String),
}

/// Which paths a route answers for; paths are compared byte for byte, without their query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path and no other; `/a` and `/a/` differ.
    Exact(String),
    /// This path and everything below it by whole segments; one slash at the end is not part of it.
    ///
    /// The empty prefix and `/` take every request target, `*` of an `OPTIONS *` included.
    Prefix(String),
}

/// One route's conditions: all of them must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The hosts.
    pub host: HostPattern,
    /// The paths.
    pub path: PathPattern,
    /// Methods of which one must be the request's, case-sensitive (RFC 9110 section 9.1); empty: all.
    pub methods: Vec<String>,
    /// Field names with the value each must have, byte for byte.
    pub headers: Vec<(String, String)>,
    /// Query parameters with the value the first of that name must have, compared percent-decoded.
    pub query: Vec<(String, String)>,
}

/// What predicates look at in a request.
pub trait Predicates {
    /// The method token.
    fn method(&self) -> &[u8];
    /// The value of the first field of a name; `name` is in lower case, fields match in any case.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// The query without its question mark, undecoded.
    fn query(&self) -> Option<&[u8]>;
}
