// Package unitfiletest reads the command lines of unit files, so that tests see what
// systemd would run.
package unitfiletest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Words returns the words of a command line as systemd.syntax(7) and systemd.service(5)
// have them: quotes and the escapes of C first, then specifiers. It refuses what package
// unitfile does not write, and what those specifiers do not cover, so that each word has
// one meaning.
func Words(line string, specifiers map[byte]string) (words []string, err error) {
	if strings.ContainsAny(line, "\n\r\x00") {
		return nil, fmt.Errorf("is not one line: %q", line)
	}
	for rest := line; ; rest = rest[1:] {
		var word string
		if strings.HasPrefix(rest, `"`) {
			word, rest, err = unquote(rest[1:])
		} else {
			word, rest, err = bare(rest)
		}
		if err == nil {
			word, err = expand(word, specifiers)
		}
		if err == nil && rest != "" && rest[0] != ' ' {
			err = errors.New("continues after its closing quote")
		}
		if err != nil {
			return nil, fmt.Errorf("word %d of %s: %w", len(words)+1, line, err)
		}
		words = append(words, word)
		if rest == "" {
			return words, nil
		}
	}
}

// bare reads a word without quotes.
func bare(s string) (word, rest string, err error) {
	end := strings.IndexByte(s, ' ')
	if end < 0 {
		end = len(s)
	}
	word, rest = s[:end], s[end:]
	if word == "" || strings.ContainsAny(word, "\t\"'\\;#") {
		err = fmt.Errorf("%q needs quotes", word)
	}
	return word, rest, err
}

// unquote reads a word up to the closing quote.
func unquote(s string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			if i == len(s) {
				return "", "", errors.New("ends in an escape")
			}
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '"', '\\':
				b.WriteByte(s[i])
			case 'x':
				n, err := strconv.ParseUint(s[i+1:min(i+3, len(s))], 16, 8)
				if err != nil {
					return "", "", err
				}
				b.WriteByte(byte(n))
				i += 2
			default:
				return "", "", fmt.Errorf(`has the escape \%c`, s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errors.New("has no closing quote")
}

// expand replaces specifiers, %% and $$.
func expand(word string, specifiers map[byte]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		mark := word[i]
		if mark != '%' && mark != '$' {
			b.WriteByte(mark)
			continue
		}
		i++
		if i == len(word) {
			return "", fmt.Errorf("ends with a lone %c", mark)
		}
		value, known := specifiers[word[i]]
		switch {
		case word[i] == mark:
			b.WriteByte(mark)
		case mark == '%' && known:
			b.WriteString(value)
		default:
			return "", fmt.Errorf("has %c%c", mark, word[i])
		}
	}
	return b.String(), nil
}
