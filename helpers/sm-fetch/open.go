package main

import (
	"fmt"
	"strings"

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
	url := s.couchdb
	if url == "" {
		url = file + s.services
	}
	scheme, _, _ := strings.Cut(url, "://")
	open := stores[scheme]
	if open == nil {
		open = openDatabase // which says what a URL looks like
	}
	return open(url, func(problem string) { log.Warning("%s", problem) })
}

func openFolder(url string, report func(string)) (source.Store, error) {
	return folder.Open(strings.TrimPrefix(url, file), folder.DefaultTimes, report), nil
}

func openDatabase(url string, report func(string)) (source.Store, error) {
	database, err := couchdb.Open(url, couchdb.Heartbeat, report)
	if err != nil {
		return nil, fmt.Errorf("COUCHDB_URL: %w", err)
	}
	return database, nil
}
