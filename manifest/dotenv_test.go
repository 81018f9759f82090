package manifest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

func lit(s string) manifest.Part { return manifest.Part{Literal: s} }

func variable(name, operator string, word ...manifest.Part) manifest.Part {
	return manifest.Part{Variable: &manifest.Variable{Name: name, Operator: operator, Operand: word}}
}

func ref(id string) manifest.Part {
	return manifest.Part{Reference: &manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/" + id}}}
}

func field(id, field string) manifest.Part {
	p := ref(id)
	p.Reference.Field = field
	return p
}

func value(parts ...manifest.Part) manifest.Expr { return parts }

// The table of conformance/dotenv has the plain grammar; here is what only
// this parser knows.
func TestDotenvValues(t *testing.T) {
	for _, test := range []struct {
		text string // of a value
		want manifest.Expr
	}{
		{"", nil},
		{`""`, nil},
		{"b c", value(lit("b c"))},
		{"room:secret/db", value(ref("db"))},
		{`"room:secret/db"`, value(ref("db"))},
		{`'room:secret/db'`, value(lit("room:secret/db"))},
		{"`room:secret/db`", value(lit("room:secret/db"))},
		{`" room:secret/db"`, value(lit(" room:secret/db"))},
		{"room:secret/db#user", value(field("db", "user"))},
		{"room:secret/db #user", value(ref("db"))},
		{"room:secret/db#/a/b # c", value(field("db", "/a/b"))},
		{"x${room:secret/db}y", value(lit("x"), ref("db"), lit("y"))},
		{`"x${room:secret/db#user}${B}"`, value(lit("x"), field("db", "user"), variable("B", ""))},
		{`'${room:secret/db}'`, value(lit("${room:secret/db}"))},
		{"$B-$C.d", value(variable("B", ""), lit("-"), variable("C", ""), lit(".d"))},
		{"${B}c", value(variable("B", ""), lit("c"))},
		{"${B:-c d}", value(variable("B", ":-", lit("c d")))},
		{"${B-}", value(variable("B", "-"))},
		{"${B:+c}", value(variable("B", ":+", lit("c")))},
		{"${B+c}", value(variable("B", "+", lit("c")))},
		{"${B:?no B}", value(variable("B", ":?", lit("no B")))},
		{"${B?no B}", value(variable("B", "?", lit("no B")))},
		{"${B:-room:secret/db}", value(variable("B", ":-", ref("db")))},
		{"${B:-x${room:secret/db}y}z", value(variable("B", ":-", lit("x"), ref("db"), lit("y")), lit("z"))},
		{"${B:-${C:-$D}}", value(variable("B", ":-", variable("C", ":-", variable("D", ""))))},
		{`${B:-{"a":{}}}c`, value(variable("B", ":-", lit(`{"a":{}}`)), lit("c"))},
		{"$$B $${B} $5 $", value(lit("$B ${B} $5 $"))},
		{`"\$B $$B \\ \" \n\t\r\a\b\f\v\x"`, value(lit("$B $B \\ \" \n\t\r\a\b\f\v\\x"))},
		{`"${B:-\"}"`, value(variable("B", ":-", lit(`"`)))},
	} {
		entries, errs := manifest.Parse("m.env", "A="+test.text)
		if errs != nil {
			t.Errorf("%s: %v", test.text, errs)
			continue
		}
		want := []manifest.Entry{{Name: "A", Value: test.want, Pos: manifest.Position{File: "m.env", Line: 1, Column: 1}}}
		if !reflect.DeepEqual(entries, want) {
			t.Errorf("%s: got %s, want %s", test.text, show(entries[0].Value), show(test.want))
		}
	}
}

// show writes a template in a form of its own, so that tests can be read.
func show(t manifest.Expr) string {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.Reference != nil:
			b.WriteString("<" + p.Reference.Target.String() + "#" + p.Reference.Field + ">")
		case p.Variable != nil:
			b.WriteString("{" + p.Variable.Name + p.Variable.Operator + show(p.Variable.Operand) + "}")
		case p.File != "":
			b.WriteString("file:" + p.File)
		default:
			b.WriteString("[" + p.Literal + "]")
		}
	}
	return b.String()
}

func TestDotenvPositions(t *testing.T) {
	entries, errs := manifest.Parse("m.env", "# c\n\n  export A='x\ny'\nÄ=1\nB=é${x:}\nC\n")
	var got []string
	for _, e := range entries {
		got = append(got, e.Name, position(e.Pos))
	}
	for _, e := range errs {
		got = append(got, position(e.(*manifest.Error).Pos))
	}
	want := []string{"A", "3:10", "B", "6:1", "C", "7:1", "5:1", "6:7"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
