//! Every reason to refuse a message, with its status, its label and a sentence for people.

/// Makes a `Copy` enum of reasons out of one table: variant, status, label, sentence.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident, $status:literal, $label:literal, $explain:literal;)* }) => {
        $(#[$meta])*
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $(#[doc = $explain] $variant,)* }

        impl $name {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The status with which a request that fails so is answered.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The reason in snake_case, for metrics and logs.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// The reason in one sentence.
            #[must_use]
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$variant => $explain,)* }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.explain())
            }
        }

        impl core::error::Error for $name {}
    };
}

reasons! {
    /// Why a message head is refused; of a response the status is of no use, it makes a 502.
    HeadError {
        BareCr, 400, "bare_cr", "A carriage return stands without a line feed behind it.";
        BareLf, 400, "bare_lf", "A line ends with a line feed without a carriage return before it.";
        TooManyEmptyLines, 400, "too_many_empty_lines", "Too many empty lines stand before the request line.";
        InvalidMethod, 400, "invalid_method", "The method is not a token.";
        MethodTooLong, 501, "method_too_long", "The method is longer than any known one.";
        InvalidRequestLine, 400, "invalid_request_line", "The request line is not a method, a target and a version with one space between them.";
        UnsupportedVersion, 505, "unsupported_version", "The protocol version is neither HTTP/1.0 nor HTTP/1.1.";
        InvalidTarget, 400, "invalid_target", "The request target has a form or a character that is not allowed.";
        InvalidPathEscape, 400, "invalid_path_escape", "A percent sign in the path is not followed by two hexadecimal digits.";
        NulInPath, 400, "nul_in_path", "The path holds an encoded zero byte.";
        AmbiguousDotSegment, 400, "ambiguous_dot_segment", "A dot segment in the path hides behind an encoded slash or a parameter.";
        RequestLineTooLong, 414, "request_line_too_long", "The request line is longer than allowed.";
        HeadTooLarge, 431, "head_too_large", "The message head is larger than allowed.";
        TooManyFields, 431, "too_many_fields", "The message head has more field lines than allowed.";
        WhitespaceBeforeFields, 400, "whitespace_before_fields", "White space stands between the start line and the first field.";
        ObsoleteFold, 400, "obsolete_fold", "A field value is continued on a further line.";
        WhitespaceBeforeColon, 400, "whitespace_before_colon", "White space stands between a field name and its colon.";
        MissingColon, 400, "missing_colon", "A field line has no colon.";
        InvalidFieldName, 400, "invalid_field_name", "A field name is not a token.";
        InvalidFieldValue, 400, "invalid_field_value", "A field value holds a control character.";
        TooManyConnectionOptions, 400, "too_many_connection_options", "The Connection field lists more options than allowed.";
        MissingHost, 400, "missing_host", "An HTTP/1.1 request has no Host field.";
        RepeatedHost, 400, "repeated_host", "There is more than one Host field line.";
        InvalidHost, 400, "invalid_host", "The host is not a name or an address with an optional port.";
        InvalidContentLength, 400, "invalid_content_length", "The Content-Length is not a decimal number that fits 64 bits.";
        RepeatedContentLength, 400, "repeated_content_length", "The Content-Length is given more than once.";
        ContentLengthWithTransferEncoding, 400, "content_length_with_transfer_encoding", "Content-Length and Transfer-Encoding are both present.";
        TransferEncodingOnHttp10, 400, "transfer_encoding_on_http10", "An HTTP/1.0 message has a Transfer-Encoding.";
        InvalidTransferEncoding, 400, "invalid_transfer_encoding", "The Transfer-Encoding is not the one coding chunked.";
        UnknownTransferCoding, 501, "unknown_transfer_coding", "The Transfer-Encoding names a coding other than chunked.";
        UnknownExpectation, 417, "unknown_expectation", "The Expect field asks for something other than 100-continue.";
        InvalidStatusLine, 400, "invalid_status_line", "The status line is malformed.";
        MalformedStream, 400, "malformed_stream", "The message breaks a rule of HTTP/2 (RFC 9113 section 8.1.1).";
        InvalidStatus, 400, "invalid_status", "The status code is not between 100 and 599.";
    }
}

reasons! {
    /// Why a chunked body is refused (RFC 9112 section 7.1); of a response the status is of no use, it makes a 502.
    ChunkError {
        InvalidSize, 400, "invalid_chunk_size", "A chunk does not start with a hexadecimal size.";
        SizeOverflow, 400, "chunk_size_overflow", "A chunk size has more than sixteen digits.";
        InvalidLineEnd, 400, "invalid_chunk_line_end", "A chunk line does not end with CR LF.";
        InvalidExtension, 400, "invalid_chunk_extension", "A chunk extension holds a control character or does not start with a semicolon.";
        LineTooLong, 400, "chunk_line_too_long", "A chunk line is longer than allowed.";
        ExtensionsTooLarge, 400, "chunk_extensions_too_large", "The chunk extensions of the body are larger than allowed.";
        MissingEnd, 400, "missing_chunk_end", "The content of a chunk is not followed by CR LF.";
        InvalidTrailer, 400, "invalid_trailer", "A trailer line is not a field line.";
        TrailersTooLarge, 431, "trailers_too_large", "The trailer section is larger than allowed.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_label(label: &str) -> bool {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }

    #[test]
    fn labels_are_unique_snake_case_and_sentences_end_with_a_stop() {
        let mut seen = Vec::new();
        for (label, explain) in HeadError::ALL
            .iter()
            .map(|e| (e.label(), e.explain()))
            .chain(ChunkError::ALL.iter().map(|e| (e.label(), e.explain())))
        {
            assert!(is_label(label), "{label}");
            assert!(explain.ends_with('.'), "{explain}");
            assert!(!seen.contains(&label), "{label} twice");
            seen.push(label);
        }
    }

    #[test]
    fn statuses_are_those_of_the_rfc() {
        for error in HeadError::ALL {
            assert!([400, 414, 417, 431, 501, 505].contains(&error.status()), "{error:?}");
        }
        for error in ChunkError::ALL {
            assert!([400, 431].contains(&error.status()), "{error:?}");
        }
    }
}
