//! `cloudidl.common.ListRequest`.

use buffa_types::google::protobuf;
use gatekey_core::{
    Error,
    api_key::list::{
        Condition, Field, FieldKind, Filter, ListKeys, MAX_FILTERS, Operand, Order, OrderField,
    },
};
use gatekey_credentials::Role;
use gatekey_proto::cloudidl::common::{self as wire, filter::Function, sort::Direction};

use super::{known, timestamp};

/// Converts a List.
///
/// # Errors
/// [`Error::Invalid`] for raw filters, an unknown field, a function that does not fit its field, or
/// more than one sort order.
pub fn query(request: wire::ListRequest) -> Result<ListKeys, Error> {
    if !request.raw_filters.is_empty() {
        return Err(Error::invalid("raw_filters", "are not supported; use filters"));
    }
    if request.filters.len() > MAX_FILTERS {
        return Err(Error::invalid("filters", format!("must be at most {MAX_FILTERS}")));
    }
    let mut sorts = request.sort_by_fields;
    sorts.extend(request.sort_by.into_option());
    if sorts.len() > 1 {
        return Err(Error::invalid(
            "sort_by_fields",
            "must have at most one field; ties are sorted by client_id",
        ));
    }
    Ok(ListKeys {
        filters: request.filters.into_iter().map(filter).collect::<Result<_, _>>()?,
        order: sorts.first().map(order).transpose()?.unwrap_or_default(),
        limit: request.limit as usize,
        page_token: request.token,
    })
}

/// The fields of filters, by their names in the API.
const FIELDS: [(&str, Field); 7] = [
    ("client_id", Field::ClientId),
    ("client_name", Field::ClientName),
    ("role", Field::Role),
    ("client_id_issued_at", Field::CreatedAt),
    ("updated_at", Field::UpdatedAt),
    ("expires_at", Field::ExpiresAt),
    ("disabled_at", Field::DisabledAt),
];

fn filter(filter: wire::Filter) -> Result<Filter, Error> {
    let Some((name, field)) = FIELDS.into_iter().find(|(name, _)| *name == filter.field) else {
        let names = FIELDS.map(|(name, _)| name).join(", ");
        return Err(Error::invalid("filters.field", format!("must be one of {names}")));
    };
    let function = known("filters.function", filter.function)?;
    if !makes_sense(field.kind(), function) {
        let rule = format!("{function:?} cannot be used on {name}; {}", instead(field.kind()));
        return Err(Error::invalid("filters.function", rule));
    }
    let values = Values { name, kind: field.kind(), function, given: filter.values };
    let condition = match function {
        Function::EQUAL => Condition::In(vec![values.one_operand()?]),
        Function::NOT_EQUAL => Condition::NotEqual(values.one_operand()?),
        Function::VALUE_IN => Condition::In(values.operands()?),
        Function::GREATER_THAN => Condition::Above(values.one_operand()?),
        Function::GREATER_THAN_OR_EQUAL => Condition::AtLeast(values.one_operand()?),
        Function::LESS_THAN => Condition::Below(values.one_operand()?),
        Function::LESS_THAN_OR_EQUAL => Condition::AtMost(values.one_operand()?),
        Function::CONTAINS => Condition::Contains(values.one()?),
        Function::CONTAINS_CASE_INSENSITIVE => Condition::ContainsIgnoringCase(values.one()?),
        Function::ENDS_WITH => Condition::EndsWith(values.one()?),
        Function::NOT_ENDS_WITH => Condition::NotEndsWith(values.one()?),
        Function::EXISTS => values.none(Condition::Exists)?,
        Function::NOT_EXISTS => values.none(Condition::Absent)?,
    };
    Ok(Filter { field, condition })
}

fn makes_sense(kind: FieldKind, function: Function) -> bool {
    match function {
        Function::EQUAL
        | Function::NOT_EQUAL
        | Function::VALUE_IN
        | Function::EXISTS
        | Function::NOT_EXISTS => true,
        Function::GREATER_THAN
        | Function::GREATER_THAN_OR_EQUAL
        | Function::LESS_THAN
        | Function::LESS_THAN_OR_EQUAL => kind != FieldKind::Name,
        Function::CONTAINS
        | Function::CONTAINS_CASE_INSENSITIVE
        | Function::ENDS_WITH
        | Function::NOT_ENDS_WITH => kind == FieldKind::Text,
    }
}

fn instead(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "every other function can",
        FieldKind::Name => "EQUAL, NOT_EQUAL, VALUE_IN, EXISTS and NOT_EXISTS can",
        FieldKind::Instant => {
            "EQUAL, NOT_EQUAL, VALUE_IN, EXISTS, NOT_EXISTS, GREATER_THAN and its like can"
        }
    }
}

/// The values of a filter, and the filter that they belong to.
struct Values {
    name: &'static str,
    kind: FieldKind,
    function: Function,
    given: Vec<String>,
}

impl Values {
    fn refuse(&self, rule: &str) -> Error {
        let Self { name, function, .. } = self;
        Error::invalid("filters.values", format!("of {function:?} on {name} {rule}"))
    }

    fn one(mut self) -> Result<String, Error> {
        match (self.given.len(), self.given.pop()) {
            (1, Some(value)) => Ok(value),
            (_, _) => Err(self.refuse("must be one value")),
        }
    }

    fn none(self, condition: Condition) -> Result<Condition, Error> {
        if self.given.is_empty() { Ok(condition) } else { Err(self.refuse("must be none")) }
    }

    fn one_operand(self) -> Result<Operand, Error> {
        match self.given.as_slice() {
            [value] => self.operand(value),
            _ => Err(self.refuse("must be one value")),
        }
    }

    fn operands(self) -> Result<Vec<Operand>, Error> {
        if self.given.is_empty() || self.given.len() > MAX_FILTERS {
            return Err(self.refuse(&format!("must be 1 to {MAX_FILTERS}")));
        }
        self.given.iter().map(|value| self.operand(value)).collect()
    }

    fn operand(&self, value: &str) -> Result<Operand, Error> {
        match self.kind {
            FieldKind::Text => Ok(Operand::Text(value.to_owned())),
            FieldKind::Name => match value.parse::<Role>() {
                Ok(role) => Ok(Operand::Text(role.as_str().to_owned())),
                Err(_) => Err(self.refuse("must be admin, contributor, viewer or verifier")),
            },
            FieldKind::Instant => {
                let rule = "must be a time in the format of RFC 3339, such as 2026-01-31T12:00:00Z";
                let instant: protobuf::Timestamp =
                    serde_json::from_value(value.into()).map_err(|_| self.refuse(rule))?;
                timestamp::from_wire("filters.values", &instant).map(Operand::Instant)
            }
        }
    }
}

fn order(sort: &wire::Sort) -> Result<Order, Error> {
    let field = match sort.key.as_str() {
        "client_id" => OrderField::ClientId,
        "client_name" => OrderField::ClientName,
        "client_id_issued_at" => OrderField::CreatedAt,
        _ => {
            let rule = "must be client_id, client_name or client_id_issued_at";
            return Err(Error::invalid("sort_by_fields.key", rule));
        }
    };
    let descending = match known("sort_by_fields.direction", sort.direction)? {
        Direction::DESCENDING => true,
        Direction::ASCENDING => false,
    };
    Ok(Order { field, descending })
}
