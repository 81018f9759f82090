package dotenv

// A row is one text. why is the reason for an outcome that is not that of most
// parsers, and is there only then.
type row struct {
	name string
	text string
	want outcome
	why  string
}

// Reasons of several rows.
const (
	name    = "refused: a shell cannot use the variable, and POSIX names have only letters, digits and _"
	expands = "docker compose's rule: Node's parsers expand nothing, godotenv neither operators nor what is inherited"
)

// The environment that parsers who look at one see.
var environ = []string{"HOME=/home/u", "EMPTY="}

var rows = []row{
	// Lines and names.
	{"plain", "A=b", set("A", "b"), ""},
	{"no newline at the end", "A=b\nC=d", set("A", "b", "C", "d"), ""},
	{"CRLF", "A=b\r\nC=d\r\n", set("A", "b", "C", "d"), ""},
	{"CRLF in quotes", "A=\"b\r\nc\"\r\n", set("A", "b\nc"), ""},
	{"byte order mark", "\ufeffA=b\n", set("A", "b"), ""},
	{"blank lines", "\n\n  \n\t\nA=b\n\n", set("A", "b"), ""},
	{"indented", "  A=b\n\tC=d", set("A", "b", "C", "d"), ""},
	{"spaces around =", "A = b", set("A", "b"), ""},
	{"tabs around =", "A\t=\tb", set("A", "b"), ""},
	{"lower case", "a_b1=c", set("a_b1", "c"), ""},
	{"empty", "A=", set("A", ""), ""},
	{"empty then another", "A=\nB=c", set("A", "", "B", "c"), ""},
	{"empty with spaces", "A=   \nB=c", set("A", "", "B", "c"), ""},
	{"= in the value", "A=b=c==", set("A", "b=c=="), ""},
	{"export", "export A=b", set("A", "b"), ""},
	{"export with a tab", "export\tA=b", set("A", "b"), ""},
	{"export with spaces", "export   A = b", set("A", "b"), ""},
	{"export as a name", "export=b", set("export", "b"), ""},
	{"exported as a name", "exportA=b", set("exportA", "b"), ""},
	{"colon", "A: b", set("A", "b"), ""},
	{"colon without a space", "A:b", fails, "refused: two parsers read A=b, two read nothing; a URL on a line of its own looks like this"},
	{"name alone, in the environment", "HOME\n", set("HOME", "/home/u"), "docker compose's rule, the only one that has a use for such a line"},
	{"name alone, not in the environment", "NOPE\nA=b", set("A", "b"), ""},
	{"two words", "A B", fails, "refused: the others read a variable without a name, or drop the line"},
	{"text that is no line", "hello world!", fails, ""},
	{"dot in a name", "a.b=c", fails, name},
	{"dash in a name", "a-b=c", fails, name},
	{"digit first", "1A=b", fails, name},
	{"no name", "=b", fails, "refused: the others read a variable without a name, or drop the line"},
	{"the same name twice", "A=b\nA=c", fails, "refused: the first value would be lost without a word, and entries may use each other in any order; a second -m file replaces a value"},

	// Comments.
	{"comment line", "# x\nA=b\n  # y=z", set("A", "b"), ""},
	{"comment after a value", "A=b # c", set("A", "b"), ""},
	{"comment after a tab", "A=b\t# c", set("A", "b"), ""},
	{"# in a value", "A=b#c", set("A", "b#c"), ""},
	{"# in a URL", "A=http://x/#frag", set("A", "http://x/#frag"), ""},
	{"# first in a value", "A=#b", set("A", "#b"), ""},
	{"comment in place of a value", "A= # b", set("A", ""), ""},
	{"comment after double quotes", `A="b # c" # d`, set("A", "b # c"), ""},
	{"comment after single quotes", `A='b # c' # d`, set("A", "b # c"), ""},
	{"comment touches the quote", `A="b"# d`, set("A", "b"), ""},
	{"comment with a quote", "A=b # it's\nC=d", set("A", "b", "C", "d"), ""},
	{"comment with quotes after a quoted value", `A="b" # say "hi"`, set("A", "b"), ""},

	// Without quotes.
	{"words", "A=hello big world", set("A", "hello big world"), ""},
	{"trailing spaces", "A=b   ", set("A", "b"), ""},
	{"quotes inside", `A=a"b'c`, set("A", `a"b'c`), ""},
	{"JSON", `A={"a":1,"b":"c"}`, set("A", `{"a":1,"b":"c"}`), ""},
	{"backslash n", `A=b\nc`, set("A", `b\nc`), ""},
	{"Windows path", `A=C:\temp\new`, set("A", `C:\temp\new`), ""},
	{"unicode", "A=ü€😀", set("A", "ü€😀"), ""},

	// Single quotes.
	{"single quotes", `A='b c'`, set("A", "b c"), ""},
	{"single, empty", `A=''`, set("A", ""), ""},
	{"single, inner space", `A=' b '`, set("A", " b "), ""},
	{"single, no escapes", `A='b\nc\td\\'`, set("A", `b\nc\td\\`), ""},
	{"single, no variables", `A='$HOME ${HOME}'`, set("A", "$HOME ${HOME}"), ""},
	{"single, double inside", `A='b"c"'`, set("A", `b"c"`), ""},
	{"single, escaped quote", `A='it\'s'`, set("A", "it's"), "documented by docker compose; the others have no way to write this quote and keep the backslash"},
	{"single, several lines", "A='b\nc\n'\nD=e", set("A", "b\nc\n", "D", "e"), ""},
	{"single, not closed", "A='b\nC=d", fails, ""},
	{"single, text after", "A='b' c", fails, "refused: the four others have three different readings"},

	// Double quotes.
	{"double quotes", `A="b c"`, set("A", "b c"), ""},
	{"double, empty", `A=""`, set("A", ""), ""},
	{"double, newline", `A="b\nc"`, set("A", "b\nc"), ""},
	{"double, carriage return", `A="b\rc"`, set("A", "b\rc"), ""},
	{"double, tab", `A="b\tc"`, set("A", "b\tc"), "docker compose's escapes; Node's parsers know \\n only, npm dotenv \\r too"},
	{"double, backslash", `A="b\\c"`, set("A", `b\c`), ""},
	{"double, escaped quote", `A="b\"c"`, set("A", `b"c`), ""},
	{"double, JSON", `A="{\"a\":1}"`, set("A", `{"a":1}`), ""},
	{"double, escaped dollar", `A="b\$HOME"`, set("A", "b$HOME"), ""},
	{"double, unknown escape", `A="b\qc"`, set("A", `b\qc`), ""},
	{"double, octal", `A="\0101"`, set("A", `\0101`), ""},
	{"double, single inside", `A="it's"`, set("A", "it's"), ""},
	{"double, several lines", "A=\"b\nc\n\"\nD=e", set("A", "b\nc\n", "D", "e"), ""},
	{"double, a key", "A=\"-----BEGIN KEY-----\nMIIE==\n-----END KEY-----\"", set("A", "-----BEGIN KEY-----\nMIIE==\n-----END KEY-----"), ""},
	{"double, not closed", "A=\"b\nC=d", fails, ""},
	{"double, text after", `A="b" c`, fails, "refused: the four others have three different readings"},
	{"double, two strings", `A="b""c"`, fails, ""},

	// Back quotes.
	{"back quotes", "A=`b 'c' \"d\"`", set("A", `b 'c' "d"`), ""},
	{"back quotes, several lines", "A=`b\nc`", set("A", "b\nc"), ""},
	{"back quotes, no variables", "A=`$HOME`", set("A", "$HOME"), ""},

	// Variables.
	{"variable", "A=b\nC=$A", set("A", "b", "C", "b"), ""},
	{"variable in braces", "A=b\nC=x${A}y", set("A", "b", "C", "xby"), ""},
	{"variable in double quotes", "A=b\nC=\"x${A}y\"", set("A", "b", "C", "xby"), ""},
	{"variable that comes later", "C=$A\nA=b", set("A", "b", "C", "b"), "entries use each other in any order; the two parsers that read from top to bottom give an empty text"},
	{"inherited variable", "A=$HOME/x", set("A", "/home/u/x"), expands},
	{"own name", "HOME=$HOME/x", set("HOME", "/home/u/x"), expands},
	{"entry over inherited", "HOME=/x\nA=$HOME", set("HOME", "/x", "A", "/x"), "the manifest has precedence over the inherited environment, here as everywhere"},
	{"default of an unset one", "A=${NOPE:-b c}", set("A", "b c"), expands},
	{"default of an empty one", "A=${EMPTY:-b}", set("A", "b"), expands},
	{"default only if unset", "A=${EMPTY-b}", set("A", ""), expands},
	{"alternative", "A=${HOME:+b}", set("A", "b"), expands},
	{"default with a variable", "A=${NOPE:-${HOME}}", set("A", "/home/u"), expands},
	{"default is JSON", `A=${NOPE:-{"a":{}}}x`, set("A", `{"a":{}}x`), expands},
	{"required", "A=${NOPE:?gone}", fails, expands},
	{"two dollars", "A=a$$b", set("A", "a$b"), "docker compose's escape for a dollar sign"},
	{"dollar and digit", "A=$5 a$", set("A", "$5 a$"), ""},
	{"command", "A=$(date)", set("A", "$(date)"), ""},
	{"escaped dollar without quotes", `A=\$HOME`, set("A", `\/home/u`), "as docker compose: without quotes a backslash is only a backslash; $$ or quotes make a dollar sign"},
	{"braces not closed", "A=${HOME", fails, "refused as by docker compose: the reference or variable that was meant would reach the child as text"},
	{"braces, empty", "A=${}", fails, "refused as by docker compose: the reference or variable that was meant would reach the child as text"},

	// References: other parsers hand them on as text.
	{"reference", "A=room:secret/db", set("A", "room:secret/db"), ""},
	{"reference with a field", "A=room:secret/db-config#username", set("A", "room:secret/db-config#username"), ""},
	{"reference with a comment", "A=room:secret/db # x", set("A", "room:secret/db"), ""},
	{"reference with a query, quoted", `A="room:secret/db?type=text%2Fplain"`, set("A", "room:secret/db?type=text%2Fplain"), ""},
	{"reference, single quotes", `A='room:secret/db'`, set("A", "room:secret/db"), ""},
	{"reference in braces, single quotes", `A='x${room:secret/db}'`, set("A", "x${room:secret/db}"), ""},
	{"reference in braces", "A=x${room:secret/db}y", set("A", "x${room:secret/db}y"), ""},
}
