# Flattens the YAML that cloud-init seeds are made of: one line a value, "path/to/key<TAB>value", sequences by index.
# A value's newlines, tabs and backslashes are written \n, \t and \\ (printf %b reads them back); "path/#" is a sequence's length.
# Block and flow collections, all scalar styles; no anchors, no tags, no multiple documents.

{ sub(/\r$/, ""); line[NR] = $0 }

END {
    last = NR
    at = 1
    if (skip()) node("", -1)
}

# --- lines -----------------------------------------------------------------------------------------------------------

# To the next line with content; false at the end.
function skip() {
    while (at <= last && line[at] ~ /^[ \t]*(#.*)?$|^---([ \t].*)?$|^\.\.\.$/) at++
    return at <= last
}

function column(text) {
    match(text, /[^ ]/)
    return RSTART - 1
}

function emit(path, value) {
    gsub(/\\/, "\\\\", value)
    gsub(/\n/, "\\n", value)
    gsub(/\t/, "\\t", value)
    printf "%s\t%s\n", path, value
}

function under(path, key) { return path == "" ? key : path "/" key }

# --- block collections -----------------------------------------------------------------------------------------------

# One node whose first line is the current one and whose parent stands at column `parent`.
function node(path, parent,    text, col) {
    text = line[at]
    col = column(text)
    text = substr(text, col + 1)
    if (text ~ /^-( |$)/) sequence(path, col)
    else if (key_length(text)) mapping(path, col)
    else inline(path, text, parent)
}

function sequence(path, col,    n) {
    n = 0
    while (skip() && column(line[at]) == col && substr(line[at], col + 1) ~ /^-( |$)/) {
        # The dash becomes a space, so that what follows it on the line is a node like any other.
        line[at] = substr(line[at], 1, col) " " substr(line[at], col + 2)
        if (line[at] ~ /^[ \t]*(#.*)?$/) child(under(path, n), col)
        else if (!block_scalar(under(path, n), substr(line[at], column(line[at]) + 1), col)) node(under(path, n), col)
        n++
    }
    printf "%s\t%d\n", under(path, "#"), n
}

function mapping(path, col,    text, size, key, rest) {
    while (skip() && column(line[at]) == col) {
        text = substr(line[at], col + 1)
        size = key_length(text)
        if (!size) return
        key = unquote_key(substr(text, 1, size))
        rest = substr(text, size + 2)
        sub(/^[ \t]+/, "", rest)
        if (rest == "" || rest ~ /^#/) {
            at++
            if (skip() && column(line[at]) == col && substr(line[at], col + 1) ~ /^-( |$)/) sequence(under(path, key), col)
            else if (skip() && column(line[at]) > col) node(under(path, key), col)
            else emit(under(path, key), "")
        } else if (!block_scalar(under(path, key), rest, col)) inline(under(path, key), rest, col)
    }
}

# What stands on the lines below an item whose own line is empty.
function child(path, col) {
    at++
    if (skip() && column(line[at]) > col) node(path, col)
    else emit(path, "")
}

# Length of the key that `text` starts with, 0 when it starts with none.
function key_length(text,    size) {
    if (text ~ /^"/) size = match(text, /^"([^"\\]|\\.)*"/) ? RLENGTH : 0
    else if (text ~ /^'/) size = match(text, /^'([^']|'')*'/) ? RLENGTH : 0
    else if (text ~ /^[[{#|>&*!%@`]/) return 0
    else size = match(text, /:( |\t|$)/) ? RSTART - 1 : 0
    return size && substr(text, size + 1) ~ /^:([ \t]|$)/ ? size : 0
}

function unquote_key(key) {
    if (key !~ /^["']/) return key
    buffer = key
    pos = 1
    return quoted()
}

# --- scalars ---------------------------------------------------------------------------------------------------------

# A literal (|) or folded (>) scalar when `header` is one; false otherwise.
function block_scalar(path, header, parent,    style, chomp, own, text, value, blank, n, first, previous, more) {
    if (header !~ /^[|>][-+0-9]*[ \t]*(#.*)?$/) return 0
    style = substr(header, 1, 1)
    chomp = header ~ /^.[0-9]?-/ ? "strip" : header ~ /^.[0-9]?\+/ ? "keep" : "clip"
    own = match(header, /[0-9]/) ? (parent < 0 ? 0 : parent) + substr(header, RSTART, 1) : 0
    at++
    while (at <= last) {
        text = line[at]
        if (text ~ /^ *$/ && !(own && length(text) > own)) { blank++; at++; continue }
        if (!own) own = column(text)
        if (column(text) < own || column(text) <= parent) break
        text = substr(text, own + 1)
        more = text ~ /^[ \t]/
        if (!n) value = repeat("\n", blank)
        else if (style == "|" || previous || more) value = value repeat("\n", blank + 1)
        else value = value (blank ? repeat("\n", blank) : " ")
        value = value text
        previous = more
        blank = 0
        n++
        at++
    }
    if (chomp == "keep") value = value repeat("\n", blank + (n > 0))
    else if (chomp == "clip" && n) value = value "\n"
    emit(path, value)
    return 1
}

function repeat(text, times,    out) {
    while (times-- > 0) out = out text
    return out
}

# A scalar or flow collection that starts with `text` on the current line and may run on below it.
function inline(path, text, parent,    value, blank) {
    if (text ~ /^["']/ || text ~ /^[[{]/) {
        buffer = text
        pos = 1
        room = parent
        if (text ~ /^["']/) emit(path, quoted())
        else flow(path)
        at++
        return
    }
    value = plain(text)
    at++
    while (at <= last && (line[at] ~ /^[ \t]*$/ || column(line[at]) > parent) && line[at] !~ /^[ \t]*#/) {
        if (line[at] ~ /^[ \t]*$/) blank++
        else {
            value = value (blank ? repeat("\n", blank) : " ") plain(line[at])
            blank = 0
        }
        at++
    }
    emit(path, value == "~" || value == "null" ? "" : value)
}

function plain(text) {
    sub(/[ \t]+#.*$/, "", text)
    gsub(/^[ \t]+|[ \t]+$/, "", text)
    return text
}

# The next line into the buffer; false at the end.
function refill() {
    if (at >= last) return 0
    at++
    buffer = buffer "\n" line[at]
    return 1
}

# The quoted scalar at `pos` of the buffer, which ends up behind its closing quote.
function quoted(    mark, value, c, start, blank) {
    mark = substr(buffer, pos++, 1)
    while (1) {
        start = pos
        while ((c = substr(buffer, pos, 1)) != "" && c != mark && c != "\\" && c != "\n") pos++
        value = value substr(buffer, start, pos - start)
        if (c == "") {
            if (!refill()) return value
        } else if (c == mark) {
            pos++
            if (mark == "\"" || substr(buffer, pos, 1) != "'") return value
            value = value "'"
            pos++
        } else if (c == "\n") {
            sub(/[ \t]+$/, "", value)
            blank = newlines()
            value = value (blank ? repeat("\n", blank) : " ")
        } else if (mark == "'") {
            value = value c
            pos++
        } else value = value escape()
    }
}

# Skips a line break with the indentation behind it; the number of blank lines that it held.
function newlines(    c, blank) {
    blank = -1
    while (1) {
        c = substr(buffer, pos, 1)
        if (c == "\n") blank++
        else if (c == "" && refill()) continue
        else if (c !~ /^[ \t]$/) return blank
        pos++
    }
}

function escape(    c, size) {
    if (substr(buffer, pos + 1, 1) == "") refill()
    c = substr(buffer, pos + 1, 1)
    pos += 2
    if (c == "\n") { pos--; newlines(); return "" }
    if (c == "n") return "\n"
    if (c == "t") return "\t"
    if (c == "r") return "\r"
    if (c == "e") return "\033"
    if (c == "a") return "\007"
    if (c == "b") return "\b"
    if (c == "v") return "\013"
    if (c == "f") return "\f"
    if (c == "N") return utf8(133)
    if (c == "_") return utf8(160)
    if (c == "L") return utf8(8232)
    if (c == "P") return utf8(8233)
    size = c == "x" ? 2 : c == "u" ? 4 : c == "U" ? 8 : 0
    if (!size) return c
    c = hexadecimal(substr(buffer, pos, size))
    pos += size
    return utf8(c)
}

function hexadecimal(digits,    i, value) {
    digits = tolower(digits)
    for (i = 1; i <= length(digits); i++) value = value * 16 + index("0123456789abcdef", substr(digits, i, 1)) - 1
    return value
}

function utf8(code) {
    if (code < 128) return byte(code)
    if (code < 2048) return byte(192 + int(code / 64)) byte(128 + code % 64)
    if (code < 65536) return byte(224 + int(code / 4096)) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
    return byte(240 + int(code / 262144)) byte(128 + int(code / 4096) % 64) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
}

function byte(code) { return sprintf("%c", code) }

# --- flow collections ------------------------------------------------------------------------------------------------

function space(    c) {
    while (1) {
        c = substr(buffer, pos, 1)
        if (c == "") { if (!refill()) return "" }
        else if (c == "#" && substr(buffer, pos - 1, 1) ~ /[ \t\n]/) { buffer = substr(buffer, 1, pos - 1) }
        else if (c !~ /[ \t\n]/) return c
        else pos++
    }
}

function flow(path,    open, n, key) {
    open = substr(buffer, pos++, 1)
    n = 0
    while (space() != "" && substr(buffer, pos, 1) !~ /[]}]/) {
        if (open == "[") flow_value(under(path, n++))
        else {
            key = flow_word()
            if (space() == ":") { pos++; space(); flow_value(under(path, key)) }
            else emit(under(path, key), "")
        }
        if (space() == ",") pos++
    }
    pos++
    if (open == "[") printf "%s\t%d\n", under(path, "#"), n
}

function flow_value(path,    c, value) {
    c = space()
    if (c == "[" || c == "{") flow(path)
    else if (c == "\"" || c == "'") emit(path, quoted())
    else {
        value = flow_word()
        emit(path, value == "~" || value == "null" ? "" : value)
    }
}

function flow_word(    start, c, value) {
    if (substr(buffer, pos, 1) ~ /["']/) return quoted()
    start = pos
    while (1) {
        c = substr(buffer, pos, 1)
        if (c == "" && refill()) continue
        if (c == "" || c ~ /[][,{}]/ || (c == ":" && substr(buffer, pos + 1, 1) ~ /^[] \t\n,}]?$/)) break
        pos++
    }
    value = substr(buffer, start, pos - start)
    gsub(/[ \t]*\n[ \t]*/, " ", value)
    gsub(/^[ \t]+|[ \t]+$/, "", value)
    return value
}
