package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A parsed is a flag whose text parse takes, so that an invalid one is an error before
// anything is done.
type parsed[T any] struct {
	to    *T
	kind  string
	text  string // what was given, or the default
	parse func(text string) (T, error)
}

func (p *parsed[T]) Set(text string) (err error) {
	p.text = text
	*p.to, err = p.parse(text)
	return err
}

func (p *parsed[T]) String() string { return p.text }
func (p *parsed[T]) Type() string   { return p.kind }

// parsedFlag adds a flag, the default of which is in to already.
func parsedFlag[T any](f *pflag.FlagSet, to *T, name, usage string, parse func(text string) (T, error)) {
	f.Var(&parsed[T]{to: to, kind: "text", parse: parse}, name, usage)
}

func durationFlag(f *pflag.FlagSet, to *time.Duration, name string, standard time.Duration, usage string) {
	*to = standard
	p := &parsed[time.Duration]{to: to, kind: "duration", parse: func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			err = errors.New("want a duration above 0, such as 10s or 1m30s")
		}
		return d, err
	}}
	if standard > 0 {
		p.text = standard.String()
	}
	f.Var(p, name, usage)
}

// namesFlag adds a flag that names a variable each time that it is given.
func namesFlag(f *pflag.FlagSet, to *[]string, name, usage string, valid *regexp.Regexp) {
	parsedFlag(f, to, name, usage, func(text string) ([]string, error) {
		if !valid.MatchString(text) {
			return *to, errors.New("want the name of one variable")
		}
		return append(*to, text), nil
	})
}

// oneOf is the parser of a flag that is one of words.
func oneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(words, text) {
			last := len(words) - 1
			return "", errors.New("want " + strings.Join(words[:last], ", ") + " or " + words[last])
		}
		return text, nil
	}
}

var (
	settable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) // in a manifest
	// inheritable excludes what is another flag, two names, or a name and a value.
	inheritable = regexp.MustCompile(`^[^-=\s\x00][^=\s\x00]*$`)
)

// mayBeEmpty marks flags for which an empty text is a value.
func mayBeEmpty(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		_ = f.SetAnnotation(name, emptyValue, nil)
	}
}

const emptyValue = "roomenv_empty_value"

// A filled is a flag that refuses an empty text, which usually is a variable of a
// script that is not set.
type filled struct{ pflag.Value }

var errEmpty = errors.New("empty")

func (f filled) Set(text string) error {
	if text == "" {
		return errEmpty
	}
	return f.Value.Set(text)
}

// fill has all flags of cmd and of the commands below it refuse an empty text, except
// those of mayBeEmpty. It leaves out booleans, which pflag knows by another interface.
func fill(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			if _, mayBe := f.Annotations[emptyValue]; !mayBe && f.Value.Type() != "bool" {
				f.Value = filled{f.Value}
			}
		})
	}
	for _, c := range cmd.Commands() {
		fill(c)
	}
}

// flagError says what pflag found in the words of other errors.
func flagError(cmd *cobra.Command, err error) error {
	if unknown := unknownCommand(cmd, cmd.Flags().Args()); unknown != nil {
		return unknown // whose flags these are
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		err = errMissing("value of --" + e.GetFlag().Name)
	} else if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := "--" + e.GetSpecifiedName()
		if e.GetSpecifiedShortnames() != "" {
			name = name[1:]
		}
		err = fmt.Errorf("unknown flag %s", name)
	} else if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		err = fmt.Errorf("invalid flag %q", e.GetSpecifiedFlag())
	} else if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		name, cause := "--"+e.GetFlag().Name, e.Unwrap()
		switch {
		case errors.Is(cause, errEmpty):
			err = errMissing("value of " + name)
		case errors.Is(cause, strconv.ErrSyntax) && e.GetFlag().Value.Type() == "bool":
			err = fmt.Errorf("invalid %s %q: want true or false", name, e.GetValue())
		default:
			err = fmt.Errorf("invalid %s %q: %w", name, e.GetValue(), cause)
		}
	}
	return seeHelp(cmd, err)
}

func errMissing(what string) error { return errors.New("missing " + what) }

func seeHelp(cmd *cobra.Command, err error) error {
	return hint(err, "see `"+cmd.CommandPath()+" --help`")
}

// unknownCommand reports the first argument of a command that only has others.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if !cmd.HasSubCommands() || len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return hint(err, "did you mean `"+cmd.CommandPath()+" "+near[0]+"`?")
	}
	return seeHelp(cmd, err)
}

// Annotations of cobra, which has no names for them.
const (
	exclusive   = "cobra_annotation_mutually_exclusive"
	oneRequired = "cobra_annotation_one_required"
)

// checkFlags does what cobra does next, in the words of other errors, and takes a
// boolean that is false for one that was not given.
func checkFlags(cmd *cobra.Command) error {
	var missing []string
	var errs []error
	notGiven := func(name string) bool {
		f := cmd.Flags().Lookup(name)
		return !f.Changed || f.Value.Type() == "bool" && f.Value.String() == "false"
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
		// A group is in the annotation of each of its flags.
		for _, group := range f.Annotations[exclusive] {
			if names := slices.DeleteFunc(strings.Fields(group), notGiven); len(names) > 1 {
				errs = append(errs, fmt.Errorf("--%s cannot be combined with --%s", names[0], names[1]))
			}
		}
		delete(f.Annotations, exclusive)
		for _, group := range f.Annotations[oneRequired] {
			names := strings.Fields(group)
			if !slices.ContainsFunc(names, cmd.Flags().Changed) {
				errs = append(errs, errMissing("flag: want one of --"+strings.Join(names, ", --")))
			}
		}
	})
	if missing != nil {
		errs = append(errs, errMissing(strings.Join(missing, " and ")))
	}
	if errs == nil {
		return nil
	}
	return seeHelp(cmd, errs[len(errs)-1])
}

// checkReferences refuses flags about references if the manifest has no reference.
func checkReferences(flags *pflag.FlagSet, references bool) error {
	for _, name := range []string{"room", "token-file", "wait"} {
		if flags.Changed(name) && !references {
			return hint(fmt.Errorf("--%s requires a reference in the manifest", name), "name the manifest with -m, or omit --"+name)
		}
	}
	return nil
}
