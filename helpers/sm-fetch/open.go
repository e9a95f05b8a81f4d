package main

import (
	"errors"
	"fmt"
	"strings"

	"service-manager/helpers/internal/scheme"
	"service-manager/helpers/sm-fetch/source"
	"service-manager/helpers/sm-fetch/source/couchdb"
	"service-manager/helpers/sm-fetch/source/folder"
)

// stores open the kinds of stores, by the scheme of a store's URL. report is told
// what is wrong with documents in it.
var stores = map[string]func(url string, report func(problem string)) (source.Store, error){
	"http":  openDatabase,
	"https": openDatabase,
	"file":  openFolder,
}

const file = "file://"

// open opens the store that the settings name.
func (s settings) open(log *journal) (source.Store, error) {
	report := func(problem string) { log.Warning("%s", problem) }
	if s.couchdb == "" {
		return openFolder(file+s.services, report)
	}
	store, err := openURL(s.couchdb, report)
	if err != nil {
		return nil, fmt.Errorf("COUCHDB_URL: %w", err)
	}
	return store, nil
}

// openURL opens the store at a URL. No error repeats any of that, which may have a password
// in it.
func openURL(url string, report func(string)) (source.Store, error) {
	before, _, found := strings.Cut(url, "://")
	open := stores[before]
	switch {
	case open != nil:
	case found && !strings.ContainsAny(before, ":/@"):
		return nil, errors.New("must begin with " + scheme.List(stores))
	default: // without a scheme
		open = openDatabase // which says what a URL looks like
	}
	return open(url, report)
}

func openFolder(url string, report func(string)) (source.Store, error) {
	return folder.Open(strings.TrimPrefix(url, file), folder.DefaultTimes, report), nil
}

func openDatabase(url string, report func(string)) (source.Store, error) {
	return couchdb.Open(url, couchdb.Heartbeat, report)
}
