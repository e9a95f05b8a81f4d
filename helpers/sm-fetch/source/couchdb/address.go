package couchdb

import (
	"encoding/base64"
	"errors"
	"net/url"
	"path"
	"strings"
)

// address is where a database is, and how to log in to it.
type address struct {
	server   string // URL without credentials, ending in a slash
	database string
	user     *url.Userinfo // nil: without a login
}

// Errors about the setting never repeat any of it: what is not understood may be
// a piece of the password.
var (
	errEncode = errors.New("the URL of the database cannot be understood; percent-encode special characters in its user name and password: " +
		"/ is %2F, ? is %3F, # is %23, @ is %40, : is %3A, % is %25")
	errForm = errors.New("the URL of the database must look like http://user:password@host:5984/services")
)

// parseAddress takes the setting apart.
func parseAddress(setting string) (address, error) {
	scheme, rest, found := strings.Cut(setting, "://")
	if !found || scheme != "http" && scheme != "https" {
		return address{}, errForm
	}
	// A slash, a question mark or a hash ends the host, also where it was meant to
	// be in the password: "http://admin:1/2@db/services" names the host "admin".
	if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.Contains(rest[end:], "@") {
		return address{}, errEncode
	}
	u, err := url.Parse(setting)
	if err != nil {
		return address{}, errEncode
	}
	server, name := path.Split(strings.TrimSuffix(u.EscapedPath(), "/"))
	if name == "" || u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(rest, "#") {
		return address{}, errForm
	}
	database, err := url.PathUnescape(name)
	if err != nil {
		return address{}, errEncode
	}
	return address{scheme + "://" + u.Host + server, database, u.User}, nil
}

// name returns the URL of the database without credentials.
func (a address) name() string { return a.server + url.PathEscape(a.database) }

// secrets returns the forms in which a server may send the password back.
func (a address) secrets() []string {
	password, _ := a.user.Password()
	if password == "" {
		return nil
	}
	plain := a.user.Username() + ":" + password
	return []string{
		base64.StdEncoding.EncodeToString([]byte(plain)),
		a.user.String(),
		url.QueryEscape(password),
		url.PathEscape(password),
		password,
	}
}
