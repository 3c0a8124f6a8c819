//! `cloudidl.common.ListRequest`.

use gatekey_core::{
    Error,
    list::{Field, Filter, ListKeys, MAX_FILTERS, Order},
};
use gatekey_proto::cloudidl::common::{self as wire, filter::Function, sort::Direction};

use super::known;

/// What List asks for.
///
/// # Errors
/// [`Error::Invalid`] naming what is not supported: raw filters, functions but EQUAL, `VALUE_IN` and CONTAINS,
/// fields but `client_id` and `client_name` (and `client_id_issued_at` to sort by), more than one order.
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
        return Err(Error::invalid("sort_by_fields", "may name one field; client_id breaks ties"));
    }
    Ok(ListKeys {
        filters: request.filters.into_iter().map(filter).collect::<Result<_, _>>()?,
        order: sorts.first().map(order).transpose()?.unwrap_or_default(),
        limit: request.limit as usize,
        page_token: request.token,
    })
}

fn filter(filter: wire::Filter) -> Result<Filter, Error> {
    let field = match filter.field.as_str() {
        "client_id" => Field::ClientId,
        "client_name" => Field::ClientName,
        _ => return Err(Error::invalid("filters.field", "must be client_id or client_name")),
    };
    let mut values = filter.values;
    if values.is_empty() || values.len() > MAX_FILTERS {
        return Err(Error::invalid("filters.values", format!("must have 1 to {MAX_FILTERS} entries")));
    }
    let one = |values: &mut Vec<String>| match (values.len(), values.pop()) {
        (1, Some(value)) => Ok(value),
        (_, _) => Err(Error::invalid("filters.values", "must have one entry for this function")),
    };
    match known("filters.function", filter.function)? {
        Function::EQUAL => Ok(Filter::In(field, vec![one(&mut values)?])),
        Function::VALUE_IN => Ok(Filter::In(field, values)),
        Function::CONTAINS => Ok(Filter::Contains(field, one(&mut values)?)),
        unsupported @ (Function::NOT_EQUAL
        | Function::GREATER_THAN
        | Function::GREATER_THAN_OR_EQUAL
        | Function::LESS_THAN
        | Function::LESS_THAN_OR_EQUAL
        | Function::ENDS_WITH
        | Function::NOT_ENDS_WITH
        | Function::CONTAINS_CASE_INSENSITIVE
        | Function::EXISTS
        | Function::NOT_EXISTS) => {
            let rule = format!("{unsupported:?} is not supported; use EQUAL, VALUE_IN or CONTAINS");
            Err(Error::invalid("filters.function", rule))
        }
    }
}

fn order(sort: &wire::Sort) -> Result<Order, Error> {
    let field = match sort.key.as_str() {
        "client_id" => Field::ClientId,
        "client_name" => Field::ClientName,
        "client_id_issued_at" => Field::CreatedAt,
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
