//! Whether a request stays within the projects and domains of a key.
//!
//! Only requests of keys with these limits are read. A request that cannot be read
//! unambiguously, or names no project, is refused.

use std::borrow::Cow;

use gatekey_core::api_key::Limits;
use http::{HeaderMap, Method, header};

use super::{
    body::{self, Codec, unescaped},
    json::{Json, camel_case},
    places::{Field, Place, Places},
    protobuf::Message,
    unreadable::Unreadable,
};
use crate::{
    reason::Reason,
    rules::{Kind, Methods, Procedure, Template},
};

/// A request, as far as the gate sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'r> {
    pub method: &'r Method,
    /// The decoded path.
    pub path: &'r str,
    pub query: Option<&'r str>,
    pub headers: &'r HeaderMap,
    pub body: Body<'r>,
    /// The longest message that is read, after decompression.
    pub most: usize,
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub enum Body<'b> {
    Whole(&'b [u8]),
    /// It is longer than the gate reads.
    TooLarge,
    /// A proxy in front kept it for itself.
    Unseen,
}

/// A project, and a domain in it, that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub project: String,
    /// `None` where the request has no field for a domain.
    pub domain: Option<String>,
}

/// Why a request of a limited key is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectDenial {
    #[error("this API key may not be used for a project that the request names")]
    Project,
    #[error("this API key may not be used for a domain that the request names")]
    Domain,
    #[error(
        "this API key is limited to projects or domains, and the request names none, or reaches beyond them"
    )]
    Unnamed,
    #[error(
        "this API key is limited to projects or domains, and the gate does not see the bodies of requests here: use \
         Gatekey's own proxy, or a key without such limits"
    )]
    Unseen,
    #[error(
        "this API key is limited to projects or domains, and the gate cannot tell from the request which it names: {0}"
    )]
    Unreadable(Unreadable),
}

impl ProjectDenial {
    /// The word for the reason in metrics and headers.
    pub fn reason(self) -> Reason {
        match self {
            Self::Project => Reason::Project,
            Self::Domain => Reason::Domain,
            Self::Unnamed => Reason::NoProject,
            Self::Unseen => Reason::UnseenBody,
            Self::Unreadable(_) => Reason::UnreadableBody,
        }
    }
}

impl From<Unreadable> for ProjectDenial {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

/// Facts about the installation, which name no project.
const METADATA: [&str; 2] =
    ["/flyteidl.service.AdminService/GetVersion", "/flyteidl.service.AdminService/GetDomains"];

/// The kind of a request of a limited key.
enum Call {
    /// It asks about the caller or the installation.
    Metadata,
    /// By RPC.
    Rpc(&'static Procedure),
    /// By plain HTTP.
    Http(&'static Procedure, Template),
    /// Nothing that names projects.
    Other,
}

fn call(method: &Method, path: &str) -> Call {
    let found = match Procedure::find(path) {
        Some(procedure) => Some((procedure, None)),
        None => Procedure::bound(Methods::of(method), path)
            .map(|(procedure, template)| (procedure, Some(template))),
    };
    let Some((procedure, template)) = found else { return Call::Other };
    let is_metadata = procedure.kind == Kind::Anonymous
        || procedure.has("whoami")
        || METADATA.contains(&&*procedure.path);
    match template {
        _ if is_metadata => Call::Metadata,
        // Each message of such a stream names its own.
        _ if procedure.streaming == "bidi" => Call::Other,
        None => Call::Rpc(procedure),
        Some(template) => Call::Http(procedure, template),
    }
}

/// Whether the body of a request decides about it, if its key is limited.
pub fn reads_body(method: &Method, path: &str) -> bool {
    let has_body = !matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    has_body && matches!(call(method, path), Call::Rpc(_) | Call::Http(..))
}

/// Decides whether a request stays within the projects and domains of a key.
///
/// # Errors
/// If the request names another project or domain, or cannot be read.
pub fn check(limits: &Limits, seen: &Seen<'_>) -> Result<(), ProjectDenial> {
    if !limits.has_scope() {
        return Ok(());
    }
    let named = match call(seen.method, seen.path) {
        Call::Metadata => return Ok(()),
        Call::Other => return Err(ProjectDenial::Unnamed),
        Call::Rpc(procedure) => named_by(procedure, None, seen)?,
        Call::Http(procedure, template) => named_by(procedure, Some(template), seen)?,
    };
    for Named { project, domain } in &named {
        let allows = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|allowed| allowed == name)
        };
        if !limits.projects.is_empty() && project.is_empty() {
            return Err(ProjectDenial::Unnamed);
        }
        if !allows(&limits.projects, project) {
            return Err(ProjectDenial::Project);
        }
        let domain = domain.as_deref().unwrap_or_default();
        if !limits.domains.is_empty() && domain.is_empty() {
            return Err(ProjectDenial::Unnamed);
        }
        if !allows(&limits.domains, domain) {
            return Err(ProjectDenial::Domain);
        }
    }
    Ok(())
}

/// Returns the projects and domains that a request names, at least one.
///
/// # Errors
/// If the request cannot be read, or names none.
pub fn named(seen: &Seen<'_>) -> Result<Vec<Named>, ProjectDenial> {
    match call(seen.method, seen.path) {
        Call::Metadata | Call::Other => Err(ProjectDenial::Unnamed),
        Call::Rpc(procedure) => named_by(procedure, None, seen),
        Call::Http(procedure, template) => named_by(procedure, Some(template), seen),
    }
}

fn named_by(
    procedure: &'static Procedure,
    template: Option<Template>,
    seen: &Seen<'_>,
) -> Result<Vec<Named>, ProjectDenial> {
    let places = Places::of(procedure);
    if places.named.iter().all(|place| place.is_reference) && places.flyte_url.is_none() {
        return Err(ProjectDenial::Unnamed);
    }
    let has_body = !matches!(*seen.method, Method::GET | Method::HEAD | Method::DELETE);
    let bytes: &[u8] = match seen.body {
        _ if !has_body => &[],
        Body::Whole(bytes) => bytes,
        Body::TooLarge => return Err(Unreadable::TooLarge.into()),
        Body::Unseen => return Err(ProjectDenial::Unseen),
    };
    let (found, outside) = match template {
        None => {
            let found = body::find(seen.method, seen.query, seen.headers, bytes, seen.most)?;
            (Some((found.codec, found.message)), Outside::default())
        }
        Some(template) => {
            let outside = Outside::read(template, seen.path, seen.query.unwrap_or_default())?;
            (has_body.then(|| in_http(seen, bytes)).transpose()?, outside)
        }
    };
    let json;
    let request = match &found {
        None => Request { message: None, outside },
        Some((Codec::Protobuf, bytes)) => {
            Request { message: Some(AnyMessage::Protobuf(Message(bytes))), outside }
        }
        Some((Codec::Json, bytes)) => {
            json = Json::message(bytes)?;
            Request { message: Some(AnyMessage::Json(&json)), outside }
        }
    };
    request.named(&places)
}

/// The message of plain HTTP: JSON, or protobuf as flyteadmin takes it.
fn in_http<'b>(seen: &Seen<'_>, bytes: &'b [u8]) -> Result<(Codec, Cow<'b, [u8]>), Unreadable> {
    let mut types = seen.headers.get_all(header::CONTENT_TYPE).iter();
    let (content_type, None) = (types.next(), types.next()) else {
        return Err(Unreadable::Repeated);
    };
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let codec = match media_type {
        "application/json" => Codec::Json,
        "application/octet-stream" if content_type == media_type => Codec::Protobuf,
        _ => return Err(Unreadable::Encoding),
    };
    Ok((codec, body::decoded(seen.headers, bytes, seen.most)?))
}

/// The variables of a plain HTTP request outside its body, by dotted names in camel case.
#[derive(Default)]
struct Outside(Vec<(String, String)>);

impl Outside {
    fn read(template: Template, path: &str, query: &str) -> Result<Self, Unreadable> {
        let variables = template.variables(path);
        let mut values: Vec<_> =
            variables.map(|(name, value)| (dotted(name), value.to_owned())).collect();
        // A server may divide at semicolons as well.
        if query.contains(';') {
            return Err(Unreadable::Malformed);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text =
                |text| String::from_utf8(unescaped(text)?).map_err(|_| Unreadable::Malformed);
            values.push((dotted(&text(name)?), text(value)?));
        }
        Ok(Self(values))
    }

    fn values(&self, message: &[Field], field: &Field) -> impl Iterator<Item = &str> {
        let names = message.iter().chain([field]).map(|field| camel_case(field.name));
        let name = names.collect::<Vec<_>>().join(".");
        self.0.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}

fn dotted(name: &str) -> String {
    name.split('.').map(camel_case).collect::<Vec<_>>().join(".")
}

#[derive(Clone, Copy)]
enum AnyMessage<'b> {
    Protobuf(Message<'b>),
    Json(&'b Json),
}

impl<'b> AnyMessage<'b> {
    fn messages(self, path: &[Field]) -> Result<Vec<Self>, Unreadable> {
        Ok(match self {
            Self::Protobuf(message) => {
                message.messages(path)?.into_iter().map(Self::Protobuf).collect()
            }
            Self::Json(message) => message.messages(path)?.into_iter().map(Self::Json).collect(),
        })
    }

    fn text(self, field: &Field) -> Result<&'b str, Unreadable> {
        match self {
            Self::Protobuf(message) => message.text(field),
            Self::Json(message) => message.text(field),
        }
    }

    fn has(self, path: &[Field]) -> Result<bool, Unreadable> {
        let Some((last, message)) = path.split_last() else { return Ok(false) };
        for message in self.messages(message)? {
            let is_there = match message {
                Self::Protobuf(message) => message.has(last)?,
                Self::Json(message) => message.has(last)?,
            };
            if is_there {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Request<'b> {
    message: Option<AnyMessage<'b>>,
    outside: Outside,
}

impl Request<'_> {
    fn named(&self, places: &Places) -> Result<Vec<Named>, ProjectDenial> {
        for path in &places.wider {
            let in_message = self.message.map(|message| message.has(path)).transpose()?;
            let outside = path.split_last().is_some_and(|(field, message)| {
                self.outside.values(message, field).next().is_some()
            });
            if in_message == Some(true) || outside {
                return Err(ProjectDenial::Unnamed);
            }
        }
        let mut named = Vec::new();
        let mut names_its_own = false;
        for place in &places.named {
            for found in self.at(place)? {
                if place.is_reference && found.project.is_empty() {
                    continue;
                }
                if !place.is_reference {
                    names_its_own = true;
                    if found.project.is_empty() {
                        return Err(ProjectDenial::Unnamed);
                    }
                }
                named.push(found);
            }
        }
        if let Some(field) = &places.flyte_url {
            let texts = self.texts(None, &[], field)?;
            let [url] = texts.as_slice() else { return Err(ProjectDenial::Unnamed) };
            named.push(in_flyte_url(url).ok_or(ProjectDenial::Unnamed)?);
            names_its_own = true;
        }
        if names_its_own { Ok(named) } else { Err(ProjectDenial::Unnamed) }
    }

    /// Returns the projects and domains at a place, none if its message is absent.
    fn at(&self, place: &Place) -> Result<Vec<Named>, Unreadable> {
        let messages = match self.message {
            Some(message) => message.messages(&place.message)?,
            None => Vec::new(),
        };
        let outside = |field: &Field| self.outside.values(&place.message, field).next().is_some();
        if messages.is_empty()
            && !outside(&place.project)
            && !place.domain.as_ref().is_some_and(outside)
        {
            return Ok(Vec::new());
        }
        let messages: Vec<_> =
            if messages.is_empty() { vec![None] } else { messages.into_iter().map(Some).collect() };
        let named = messages.into_iter().map(|message| {
            let one = |field: &Field| {
                let texts = self.texts(message, &place.message, field)?;
                match texts.as_slice() {
                    [] => Ok(String::new()),
                    [text] => Ok(text.clone()),
                    _ => Err(Unreadable::Repeated),
                }
            };
            let domain = place.domain.as_ref().map(one).transpose()?;
            Ok(Named { project: one(&place.project)?, domain })
        });
        named.collect()
    }

    /// The different texts that a field has, in the message or outside it.
    fn texts(
        &self,
        message: Option<AnyMessage<'_>>,
        path: &[Field],
        field: &Field,
    ) -> Result<Vec<String>, Unreadable> {
        let message = message.or(self.message.filter(|_| path.is_empty()));
        let inside = message.map(|message| message.text(field)).transpose()?.unwrap_or_default();
        let mut texts: Vec<String> =
            self.outside.values(path, field).chain([inside]).map(str::to_owned).collect();
        texts.retain(|text| !text.is_empty());
        texts.sort_unstable();
        texts.dedup();
        Ok(texts)
    }
}

/// Reads `flyte://v1/PROJECT/DOMAIN/...`.
fn in_flyte_url(url: &str) -> Option<Named> {
    let rest = url.strip_prefix("flyte://v1/")?;
    // Servers look for the pattern anywhere.
    if rest.contains("flyte:") {
        return None;
    }
    let mut segments = rest.split('/');
    let (project, domain, after) = (segments.next()?, segments.next()?, segments.next()?);
    let is_named = [project, domain, after].iter().all(|segment| !segment.is_empty());
    is_named.then(|| Named { project: project.to_owned(), domain: Some(domain.to_owned()) })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const CREATE_RUN: &str = "/flyteidl2.workflow.RunService/CreateRun";

    fn limits(projects: &[&str], domains: &[&str]) -> Limits {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Limits { projects: list(projects), domains: list(domains), ..Limits::default() }
    }

    fn check_post(limits: &Limits, path: &str, body: Body<'_>) -> Result<(), ProjectDenial> {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/proto"))]
            .into_iter()
            .collect();
        let seen =
            Seen { method: &Method::POST, path, query: None, headers: &headers, body, most: 99 };
        check(limits, &seen)
    }

    #[test]
    fn an_unlimited_key_is_not_read() {
        assert_eq!(check_post(&limits(&[], &[]), "/x", Body::Unseen), Ok(()));
    }

    #[test]
    fn an_unseen_body_is_refused_where_it_matters() {
        let limits = limits(&["web"], &[]);
        let check = |path| check_post(&limits, path, Body::Unseen);
        assert_eq!(check(CREATE_RUN), Err(ProjectDenial::Unseen));
        assert_eq!(check("/flyteidl2.auth.IdentityService/UserInfo"), Ok(()));
        assert_eq!(check("/flyteidl.service.AdminService/GetVersion"), Ok(()));
        assert_eq!(check("/console/x"), Err(ProjectDenial::Unnamed));
        let large = check_post(&limits, CREATE_RUN, Body::TooLarge);
        assert_eq!(large, Err(Unreadable::TooLarge.into()));
    }

    /// Nothing else may be admitted for a key that is limited to a project that nobody has.
    #[test]
    fn every_procedure_is_decided_for_a_limited_key() {
        let nothing = limits(&["nobody-has-this"], &[]);
        for procedure in Procedure::all() {
            let admitted = check_post(&nothing, &procedure.path, Body::Whole(b"")).is_ok();
            let is_metadata = procedure.kind == Kind::Anonymous
                || procedure.has("whoami")
                || METADATA.contains(&&*procedure.path);
            assert_eq!(admitted, is_metadata, "{}", procedure.path);
        }
    }

    #[test]
    fn a_flyte_url_names_its_project_once() {
        let named = |url| in_flyte_url(url).map(|named| (named.project, named.domain.unwrap()));
        let web = Some(("web".to_owned(), "dev".to_owned()));
        assert_eq!(named("flyte://v1/web/dev/x/n0/i"), web);
        for url in [
            "",
            "flyte://v2/web/dev/x",
            "flyte://v1/web/dev",
            "flyte://v1//dev/x",
            "flyte://v1/web//x",
            "x flyte://v1/web/dev/x",
            "flyte://v1/web/dev/flyte://v1/other/dev/x/n0/i",
        ] {
            assert_eq!(named(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_request_makes_the_reader_panic(place in 0..200_usize, body in prop::collection::vec(any::<u8>(), 0..64), json in "[{}\\[\\]\":,a-d]{0,40}") {
            let all = Procedure::all();
            let path = &all[place % all.len()].path;
            for body in [&body, json.as_bytes()] {
                let _ = check_post(&limits(&["a"], &["b"]), path, Body::Whole(body));
            }
        }
    }
}
