// Package nl is imported on Android alone. It is empty: its name is all that pinning needs.
package nl
