//! Tests of the whole room: text in, configuration or report out.
