//! [`Procedure`]: a procedure that Flyte serves, from the table `flyte_procedures.tsv`.
//!
//! One line of the table is a procedure of Flyte 2 or Flyte 1. Its columns:
//!
//! - service, method: the path is `/service/method`.
//! - kind: `read`, `write`, `admin` or `anonymous`.
//! - streaming: `none`, `server` or `bidi`.
//! - project, domain, org: where the request names them, as `field(number).field(number)`, with
//!   `[]` for a repeated field. `a | b` are members of one oneof, `a + b` are both named.
//! - flags: `internal` for calls between parts of Flyte, `unmounted` if no server of the
//!   open-source release serves it, `whoami` for any valid caller, `connect-get` if Connect allows
//!   `GET`, `wide` if a request can reach beyond one project, `secret-value` if it carries one,
//!   `signed-url` if the response does, `flyte-url` if a URL in the request names the project,
//!   `deprecated`.
//! - also: further identifiers that the request can name.
//! - http: methods and paths of plain HTTP that Flyte 1 serves.
//!
//! `-` stands for an empty column.

use std::{collections::HashMap, sync::LazyLock};

use super::{
    methods::Methods,
    template::{Binding, Template},
};
use crate::access::Access;

const TABLE: &str = include_str!("flyte_procedures.tsv");

/// The effect of a procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Anonymous,
    Read,
    Write,
    Admin,
}

/// A procedure of Flyte.
#[derive(Debug)]
pub struct Procedure {
    /// Its path, `/service/method`.
    pub path: Box<str>,
    pub service: &'static str,
    pub kind: Kind,
    /// `none`, `server` or `bidi`.
    pub streaming: &'static str,
    /// Where the request names the project; empty if nowhere.
    pub project: &'static str,
    /// Where the request names the domain; empty if nowhere.
    pub domain: &'static str,
    /// Where the request names the organization; empty if nowhere.
    pub org: &'static str,
    /// Further identifiers that the request can name.
    pub also: &'static str,
    pub bindings: Vec<Binding>,
    flags: &'static str,
}

static PROCEDURES: LazyLock<Vec<Procedure>> =
    LazyLock::new(|| TABLE.lines().skip(1).filter_map(read).collect());

static BY_PATH: LazyLock<HashMap<&'static str, &'static Procedure>> =
    LazyLock::new(|| PROCEDURES.iter().map(|procedure| (&*procedure.path, procedure)).collect());

impl Procedure {
    /// Every procedure, in the order of the table.
    pub fn all() -> &'static [Self] {
        &PROCEDURES
    }

    /// The procedure with a path.
    pub fn find(path: &str) -> Option<&'static Self> {
        BY_PATH.get(path).copied()
    }

    /// The procedure that Flyte 1 binds to a decoded path of plain HTTP.
    pub fn bound(methods: Methods, path: &str) -> Option<(&'static Self, Template)> {
        PROCEDURES.iter().find_map(|procedure| {
            let binding = procedure.bindings.iter().find(|binding| {
                binding.methods.overlaps(methods) && binding.template.matches(path)
            })?;
            Some((procedure, binding.template))
        })
    }

    /// Whether the procedure has a flag, such as `wide`.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.split(',').any(|known| known == flag)
    }

    /// Whether parts of Flyte call it, and clients do not.
    pub fn is_internal(&self) -> bool {
        self.has("internal")
    }

    /// Whether Connect allows `GET`.
    pub fn allows_get(&self) -> bool {
        self.has("connect-get")
    }

    /// The access that it needs by default. `internal_services` allows internal ones.
    pub fn access(&self, internal_services: bool) -> Access {
        if self.is_internal() && !internal_services {
            return Access::Denied;
        }
        match self.kind {
            Kind::Anonymous => Access::Anonymous,
            _ if self.has("whoami") => Access::AnyKey,
            Kind::Read => Access::Read,
            Kind::Write => Access::Write,
            Kind::Admin => Access::Admin,
        }
    }
}

fn read(line: &'static str) -> Option<Procedure> {
    let mut columns = line.split('\t').map(|column| if column == "-" { "" } else { column });
    let mut next = || columns.next();
    let (service, method) = (next()?, next()?);
    let kind = match next()? {
        "anonymous" => Kind::Anonymous,
        "read" => Kind::Read,
        "write" => Kind::Write,
        "admin" => Kind::Admin,
        _ => return None,
    };
    let (streaming, project, domain, org) = (next()?, next()?, next()?, next()?);
    let (flags, also, http) = (next()?, next()?, next()?);
    let binding = |text: &'static str| {
        let (method, template) = text.split_once(' ')?;
        Some(Binding { methods: Methods::named(method), template: Template::new(template) })
    };
    Some(Procedure {
        path: format!("/{service}/{method}").into(),
        service,
        kind,
        streaming,
        project,
        domain,
        org,
        also,
        bindings: http.split(" ; ").filter_map(binding).collect(),
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(Procedure::all().len(), TABLE.lines().count() - 1);
        assert_eq!(BY_PATH.len(), PROCEDURES.len(), "a procedure is listed twice");
        let bindings = Procedure::all().iter().flat_map(|procedure| &procedure.bindings);
        for binding in bindings.clone() {
            assert!(binding.methods != Methods::NONE, "{binding:?}");
            assert!(binding.template.as_str().starts_with('/'), "{binding:?}");
        }
        let listed = TABLE.matches("GET /").count()
            + TABLE.matches("POST /").count()
            + TABLE.matches("PUT /").count()
            + TABLE.matches("DELETE /").count();
        assert_eq!(bindings.count(), listed);
    }

    #[test]
    fn the_table_has_only_known_flags() {
        const FLAGS: [&str; 10] = [
            "",
            "internal",
            "unmounted",
            "whoami",
            "connect-get",
            "wide",
            "secret-value",
            "signed-url",
            "flyte-url",
            "deprecated",
        ];
        for procedure in Procedure::all() {
            assert!(procedure.flags.split(',').all(|flag| FLAGS.contains(&flag)), "{procedure:?}");
        }
    }

    #[test]
    fn a_bound_path_names_its_procedure() {
        let (procedure, _) = Procedure::bound(Methods::GET, "/api/v1/executions/p/d/n").unwrap();
        assert_eq!(&*procedure.path, "/flyteidl.service.AdminService/GetExecution");
        assert!(Procedure::bound(Methods::POST, "/api/v1/executions/p/d/n").is_none());
    }
}
